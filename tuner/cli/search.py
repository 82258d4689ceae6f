"""tuner search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel

from tuner.cli import interrupts
from tuner.cli.configs import OPTIONS, Given, configs_argument, override, read_all
from tuner.cli.output import print_json
from tuner.records import Record

if TYPE_CHECKING:
    from tuner.search.tune import Outcome


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
@click.option("--fresh", is_flag=True, help="start a new study instead of resuming")
@click.option("--replace", is_flag=True, help="let a slower result replace a cached one")
@click.option("--json", "as_json", is_flag=True, help="records as JSON on stdout, progress on stderr")
def search(configs: tuple[Path, ...], fresh: bool, replace: bool, as_json: bool, **options: str | None) -> None:
    """Search the knobs for every shape of each CONFIG and cache the winners."""
    from tuner import settings
    from tuner.cli.screen import Screen
    from tuner.cli.tables import console
    from tuner.search.tune import tune

    def tell(line: str) -> None:
        click.echo(line, err=as_json)

    loaded = read_all(configs, options, tell)  # before the first search
    results: list[Result] = []
    try:
        for path, one in loaded:
            for line in path.draft.plan if path.draft is not None else ():
                tell(line)
            with Screen(console(stderr=as_json), one.template) as view:
                for outcome in tune(one, settings.cache_root(path.config, one.template), view, fresh, replace):
                    view.outcome(outcome)
                    results.append(Result.of(path, outcome))
            if results and results[-1].stopped == "interrupted":
                break
    finally:  # what was found before a fault is said all the same
        if as_json:
            print_json([result.model_dump(mode="json") for result in results])
    if any(result.stopped == "interrupted" for result in results):
        sys.exit(interrupts.exit_code())
    if any(result.record is None for result in results):
        sys.exit(1)
