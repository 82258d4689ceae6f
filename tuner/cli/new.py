"""tuner new: a template's folder to begin with."""

from __future__ import annotations

import os
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=FILE)
@click.option("--source", type=FILE, help="a .cu or .cpp file of yours: its launcher and #ifndef defaults are taken")
@click.option("--problem", type=FILE, help="the reference, in the KernelBench format")
def new(folder: Path, source: Path | None, problem: Path | None) -> None:
    """Make a template FOLDER: a small example, or one around a --source and a --problem of your own."""
    from tuner.scaffold import new_template

    for file in new_template(Path(os.path.abspath(folder)), source, problem):
        click.echo(os.path.relpath(file))
    click.echo(f"next: tuner validate {folder}, then tuner search {folder}")
