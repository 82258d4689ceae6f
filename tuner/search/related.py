"""Ledgers of searches on the same template for other shapes, devices or versions: they guide, and prove nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.errors import CacheError
from tuner.records import Environment, Trial, Workload
from tuner.search.ledger import Ledger
from tuner.search.outline import Outline, read_outline
from tuner.space import Space

SEARCHES = 3  # likest ledgers that are read
LEAST = 10  # points of this space that a ledger has to have


def related(own: Path, template: str, workload: Workload, environment: Environment, space: Space) -> list[list[Trial]]:
    """The trials in `space` of the ledgers beside `own` that are of the same template, the likest search's first.

    The likest is of the same kind of device and differs in the fewest fields of workload and environment. A ledger that
    cannot be read is left out.
    """
    found: list[tuple[int, str, Path]] = []
    for path in own.parent.glob(f"{template}-*.jsonl"):
        outline = _outline(path)
        if path == own or outline is None or outline.template != template:
            continue
        if outline.environment.device_kind == environment.device_kind:
            found.append((_apart(outline, workload, environment), path.name, path))
    trials: list[list[Trial]] = []
    for _, _, path in sorted(found):
        of_search = _trials(path, space)
        if len(of_search) >= LEAST:
            trials.append(of_search)
        if len(trials) == SEARCHES:
            break
    return trials


def _outline(ledger: Path) -> Outline | None:
    try:
        return read_outline(ledger)
    except CacheError:
        return None


def _trials(ledger: Path, space: Space) -> list[Trial]:
    try:
        return [trial for trial in Ledger(ledger).read() if space.has(trial.point)]
    except CacheError:
        return []


def _apart(outline: Outline, workload: Workload, environment: Environment) -> int:
    """In how many fields another search's workload and environment are not this one's."""
    return _differing(outline.workload, workload) + _differing(outline.environment, environment)


def _differing(one: Any, other: Any) -> int:
    left, right = one.model_dump(), other.model_dump()
    return sum(left.get(key) != right.get(key) for key in {*left, *right})
