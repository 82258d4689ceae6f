"""tuner report: one HTML file about searches, winners or a suite."""

from __future__ import annotations

from pathlib import Path

import click

from tuner.errors import ConfigError


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="the HTML file to write")
def report(paths: tuple[Path, ...], output: Path) -> None:
    """Write a report that opens offline, about PATHS: configs, ledgers, entries or folders of the cache, or a suite's
    table in JSON; of nothing: all searches and winners.

    It needs no device and no running search: what still runs or was killed is read as far as it came.
    """
    from tuner import results
    from tuner.report import figure, write
    from tuner.report.write import suite_rows

    figure.require_plotly()
    if output.suffix != ".html":
        raise ConfigError(f"{output}: a report is HTML; give it a name that ends in .html")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: no such folder: {output.parent}")
    suites = [(path.stem, suite_rows(path)) for path in paths if path.suffix == ".json"]
    searches = [path for path in paths if path.suffix != ".json"]
    found = results.named(searches) if searches or not suites else []
    if not found and not suites:
        raise ConfigError("no search was found; `tuner search` makes one")
    write(output, found, suites)
    counts = [(len(found), "search", "searches"), (len(suites), "suite", "suites")]
    click.echo(f"wrote {output}: " + ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n))
