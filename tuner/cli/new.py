"""tuner new: a template's folder to begin with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tuner.errors import ConfigError
from tuner.records import FLOATING
from tuner.screen import pulse

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=FILE)
@click.option("--source", type=FILE, help="a .cu or .cpp file of yours: its launcher and #ifndef defaults are taken")
@click.option("--problem", type=FILE, help="the reference, in the KernelBench format")
@click.option("--dtype", type=click.Choice(FLOATING), help="draft the problem cast to it")
def new(folder: Path, source: Path | None, problem: Path | None, dtype: Any) -> None:
    """Make a template FOLDER: a small example, one around a --source, or a draft of a --problem."""
    from tuner.scaffold import new_draft, new_template

    if dtype is not None and (problem is None or source is not None):
        raise ConfigError("--dtype: is of a draft, and there is one of a --problem alone")
    place = Path(os.path.abspath(folder))
    if problem is not None and source is None:
        with pulse.telling(click.echo) as begin:
            begin(f"drafting {problem}")
            draft = new_draft(place, problem, dtype)
        click.echo("\n".join(draft.plan))
        files = sorted(place.iterdir())
    else:
        files = new_template(place, source, problem)
    for file in files:
        click.echo(os.path.relpath(file))
    if source is not None and problem is None:
        click.echo(f"write the forward of {os.path.relpath(place / 'problem.py')}: it says what is right")
    click.echo(f"next: tuner validate {folder}, then tuner search {folder}" + (f" --dtype {dtype}" if dtype else ""))
