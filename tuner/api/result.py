"""What came of a search that was started from Python."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.export import winners
from tuner.kernels import require_backward
from tuner.records import Record, Trial
from tuner.screen import pulse
from tuner.screen.screen import Screen
from tuner.screen.tables import console, shapes
from tuner.search import tune as search
from tuner.settings import Settings, cache_root, load


@dataclass(frozen=True, repr=False)
class Result:
    """The outcomes of a search, one for each workload; printed, a line for each."""

    settings: Settings
    cache: Path
    outcomes: tuple[search.Outcome, ...]

    def __repr__(self) -> str:
        return "\n".join(str(o.record or f"{shapes(o.workload)}: nothing right") for o in self.outcomes)

    __str__ = __repr__

    @property
    def best(self) -> Record | None:
        """The winner of the first workload; None where nothing right was found."""
        return self.outcomes[0].record if self.outcomes else None

    @property
    def records(self) -> list[Record]:
        """The winners of all workloads."""
        return [outcome.record for outcome in self.outcomes if outcome.record is not None]

    @property
    def trials(self) -> list[Trial]:
        return [trial for outcome in self.outcomes for trial in outcome.progress.trials]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each trial: shapes, variant, status, milliseconds (None unless it is right), and the knobs."""
        return [
            {
                "shapes": outcome.workload.shapes,
                "variant": trial.point.variant,
                "status": trial.evaluation.status.value,
                "latency_ms": trial.evaluation.performance and trial.evaluation.performance.latency_ms,
                **trial.point.knobs,
            }
            for outcome in self.outcomes
            for trial in outcome.progress.trials
        ]

    def to_pandas(self) -> Any:
        """`rows` as a DataFrame; pandas has to be there."""
        return importlib.import_module("pandas").DataFrame(self.rows())

    def export(self, file: str | Path, force: bool = False, backward: str | None = None) -> Path:
        """Write the winners as one standalone file, verified in a fresh process; with `force` also what is no faster.

        With `backward="reference"` it can train: the reference's gradients are its own. Raises TunerError.
        """
        require_backward(backward)
        file = Path(file)
        with pulse.telling(_say) as begin:
            winners.export_winners(self.settings, self.cache, file, force, begin, backward is not None)
        return file


def tune(config: str | Path, **options: Any) -> Result:
    """Search a config or a template's folder; keywords override its keys. Raises TunerError.

    The winners are stored in the cache, and progress is told on stderr, as by `tuner search`.
    """
    path = Path(config)
    return run(load(path, {key: _text(value) for key, value in options.items()}), path)


def run(settings: Settings, place: Path) -> Result:
    """Search what settings ask for, into the cache of the project around `place`; told as `tuner search` tells it."""
    cache, outcomes = cache_root(place, settings.template), []
    with Screen(console(stderr=True), Path(settings.template).name) as view:
        for outcome in search.tune(settings, cache, view):
            view.outcome(outcome)
            outcomes.append(outcome)
    return Result(settings, cache, tuple(outcomes))


def _text(value: Any) -> str:
    """As an option of the command line."""
    if isinstance(value, str | Path):
        return str(value)
    return repr(_lists(value)).replace("'", '"') if isinstance(value, dict | Sequence) else str(value)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _say(text: str) -> None:
    print(text, file=sys.stderr)
