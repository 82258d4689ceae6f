"""tuner search."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel

from tuner.cli import interrupts
from tuner.cli.configs import OPTIONS, Given, configs_argument, override, read_all
from tuner.cli.output import print_json
from tuner.records import Record

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.cli.events import Events
    from tuner.search.tune import Outcome
    from tuner.settings import Settings


class Result(BaseModel):
    """What came of one workload, as `--json` prints it."""

    config: str
    stopped: str
    trials: int
    seconds: float
    stored: bool
    record: Record | None
    kernels: int | None = None  # of ours in one forward, where a problem file was drafted
    plan: list[str] | None = None

    @classmethod
    def of(cls, config: Given, outcome: Outcome) -> Result:
        return cls(
            config=str(config.typed),
            kernels=None if config.draft is None else config.draft.kernels,
            plan=None if config.draft is None else list(config.draft.plan),
            stopped=outcome.progress.stopped,
            trials=len(outcome.progress.trials),
            seconds=outcome.progress.elapsed_s,
            stored=outcome.stored,
            record=outcome.record,
        )


@click.command()
@configs_argument
@override(*OPTIONS)
@click.option("--cluster", help="search on a Dask cluster: tcp://SCHEDULER:PORT, or local for workers on this host")
@click.option("--fresh", is_flag=True, help="start a new study instead of resuming")
@click.option("--replace", is_flag=True, help="let a slower result replace a cached one")
@click.option("--json", "as_json", is_flag=True, help="records as JSON on stdout, progress on stderr")
@click.option("--events", type=click.Path(path_type=Path), help="append what happens to this file, as lines of JSON")
def search(
    configs: tuple[Path, ...],
    cluster: str | None,
    fresh: bool,
    replace: bool,
    as_json: bool,
    events: Path | None,
    **options: str | None,
) -> None:
    """Search the knobs for every shape of each CONFIG and cache the winners."""
    from tuner.cli import devices
    from tuner.cli.cluster import searched as searched_on_cluster
    from tuner.cli.events import Events
    from tuner.screen.tables import console

    def tell(line: str) -> None:
        click.echo(line, err=as_json)

    loaded = read_all(configs, options, tell)  # before the first search
    results: list[Result] = []
    told = Events(events)
    try:
        several = devices.searched if any(one.devices for _, one in loaded) else _searched
        search_all = several if cluster is None else partial(searched_on_cluster, cluster)
        for config, outcome in search_all(loaded, console(stderr=as_json), told, tell, fresh, replace):
            results.append(Result.of(config, outcome))
    finally:  # what was found before a fault is said all the same
        told.close()
        if as_json:
            print_json([result.model_dump(mode="json") for result in results])
    if any(result.stopped == "interrupted" for result in results):
        sys.exit(interrupts.exit_code())
    if any(result.record is None for result in results):
        sys.exit(1)


def _searched(
    loaded: Sequence[tuple[Given, Settings]],
    console: Console,
    events: Events,
    tell: Callable[[str], None],
    fresh: bool,
    replace: bool,
) -> Iterator[tuple[Given, Outcome]]:
    """One search after the other, each on its config's device; the one that was interrupted is the last."""
    from tuner.screen.screen import Screen
    from tuner.search.tune import tune
    from tuner.settings import cache_root

    for given, one in loaded:
        for line in given.plan:
            tell(line)
        with Screen(console, one.template) as view:
            told = events.beside(one.device, one.template, view)
            with given.named():
                for outcome in tune(one, cache_root(given.config, one.template), told, fresh, replace):
                    events.outcome(one.device, one.template, outcome)
                    view.outcome(outcome)
                    yield given, outcome
                    if outcome.progress.stopped == "interrupted":
                        return
