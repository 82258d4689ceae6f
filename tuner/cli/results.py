"""tuner results: the trials of searches as tables and in Kernel Tuner's formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.output import print_json
from tuner.errors import ConfigError

if TYPE_CHECKING:
    from tuner.results import Searched

FORMATS = {
    "csv": "a row a trial, a column a knob",
    "json": "the same rows as JSON",
    "parquet": "the same rows as Parquet, into --output",
    "t4": "Kernel Tuner's T4: results of one search",
    "t1": "Kernel Tuner's T1: the space of one search",
}


def _formats(command: Any) -> Any:
    for name in reversed(FORMATS):
        command = click.option(f"--{name}", "form", flag_value=name, help=FORMATS[name])(command)
    return command


@click.command()
@click.argument("configs", nargs=-1, type=click.Path(path_type=Path))
@_formats
@click.option("-o", "--output", type=click.Path(path_type=Path), help="the file to write (default: stdout)")
def results(configs: tuple[Path, ...], form: str | None, output: Path | None) -> None:
    """Print every trial of the searches of CONFIGS: configs, ledgers, or folders of the cache; of nothing: all.

    Searches that still run or were killed are read as far as they came. T4 and T1 of several searches are files
    NAME.t4.json in the folder --output.
    """
    from tuner.results import named, table

    searches = [each for each in named(configs) if each.trials or form == "t1"]
    if not searches:
        raise ConfigError("no trial was found; `tuner search` makes some")
    if form in ("t4", "t1"):
        _documents(searches, form, output)
        return
    rows = table.rows(searches)
    if form == "parquet":
        if output is None:
            raise ConfigError("--parquet: is no text; name a file with --output")
        table.write_parquet(rows, output)
    elif form == "csv":
        _put(table.as_csv(rows), output)
    elif form == "json" and output is None:
        print_json(rows)
    elif form == "json":
        import json

        _put(json.dumps(rows, indent=2) + "\n", output)
    else:
        _listing(searches)


def _documents(searches: list[Searched], form: str, output: Path | None) -> None:
    from tuner.results import t4

    make = t4.t4 if form == "t4" else t4.t1
    if len(searches) == 1 and not (output and output.is_dir()):
        _put(t4.text(make(searches[0])), output)
        return
    if output is None or not output.is_dir():
        names = ", ".join(each.name for each in searches)
        raise ConfigError(f"--{form} holds one search, these are {names}; name one ledger, or a folder with --output")
    for each in searches:
        _put(t4.text(make(each)), output / f"{each.name}.{form}.json")


def _listing(searches: list[Searched]) -> None:
    """What there is, for a person: a line a search. Time and knobs are the winner's, or the best trial's so far."""
    from tuner.screen import tables

    rows = []
    for each in searches:
        best, workload, record = (
            each.best,
            each.workload,
            each.record if each.record and each.record.confirmed else None,
        )
        time = record.latency_ms if record else best.evaluation.latency_ms if best else None
        point = record.point if record else best.point if best else ""
        rows.append(
            [
                each.name,
                tables.shapes(workload) if workload else "",
                f"{len(each.trials)}",
                f"{len(each.right)}",
                "" if time is None else f"{time:.4g} ms",
                "winner" if record else "best trial" if best else "",
                str(point),
            ]
        )
    tables.console().print(tables.listing(["search", "shape", "trials", "right", "time", "of the", "knobs"], rows))


def _put(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"wrote {output}", err=True)
