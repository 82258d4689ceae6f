"""What a search is of and how its final went, in files beside its ledger: a report needs no template and no device."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tuner.backends import Reading as Moment
from tuner.errors import CacheError
from tuner.records import Environment, Floor, Performance, Stored, StoredPoint, Workload
from tuner.space import Branch, Choice, Space

DRAWS = 2000  # random points of a variant that say what its constraints refuse

StoredT = TypeVar("StoredT", bound=Stored)


class KnobOutline(Stored):
    """A knob as it was searched."""

    name: str
    choices: tuple[Choice, ...]
    default: Choice
    doc: str = ""


class Refusals(Stored):
    """Of random points with one choice of one knob: how many were drawn, and how many each constraint refused."""

    knob: str
    choice: Choice
    drawn: int
    refused: dict[str, int]


class BranchOutline(Stored):
    """A variant as it was searched."""

    variant: str
    knobs: tuple[KnobOutline, ...]
    constraints: tuple[str, ...]
    refusals: tuple[Refusals, ...] = ()

    @classmethod
    def of(cls, space: Space, branch: Branch) -> BranchOutline:
        rng = random.Random(branch.variant)
        drawn, refused = Counter[tuple[str, Choice]](), Counter[tuple[str, Choice, str]]()
        for _ in range(DRAWS if branch.constraints else 0):
            point = branch.drawn(rng)
            rule = space.rejected_by(point)
            drawn.update(point.values)
            refused.update((name, value, rule) for name, value in point.values if rule is not None)
        rules = [constraint.name for constraint in branch.constraints]
        knobs = [KnobOutline(name=k.name, choices=k.choices, default=k.default, doc=k.doc) for k in branch.knobs]
        return cls(
            variant=branch.variant,
            knobs=tuple(knobs),
            constraints=tuple(rules),
            refusals=tuple(
                Refusals(
                    knob=knob.name,
                    choice=choice,
                    drawn=drawn[knob.name, choice],
                    refused={rule: n for rule in rules if (n := refused[knob.name, choice, rule])},
                )
                for knob in branch.knobs
                for choice in knob.choices
                if drawn[knob.name, choice]
            ),
        )


class Outline(Stored):
    """What a search is of: NAME.search.json. `started` has the beginning of each run of it, Unix time in s."""

    schema_version: int = 1
    template: str
    workload: Workload
    environment: Environment
    error_budget: float
    sampler: str
    seed: int
    trials: int
    time_budget_s: float | None
    patience: int | None
    branches: tuple[BranchOutline, ...]
    floor: Floor
    eager: Performance | None
    started: tuple[float, ...]

    def begun_again(self, earlier: Outline | None) -> Outline:
        """With the runs that went before."""
        return self._with(started=((*earlier.started, *self.started) if earlier else self.started))


class Reading(Stored):
    """The device at one moment of the final, seconds after its beginning; None for what it does not tell."""

    at_s: float
    sm_mhz: float | None
    memory_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    throttling: tuple[str, ...]


class FinalOutline(Stored):
    """How a final went: NAME.final.json. Times in ms of each contestant, in rounds of so many samples."""

    schema_version: int = 1
    winner: str
    points: dict[str, StoredPoint]  # of the finalists; other contestants are baselines
    times_ms: dict[str, tuple[float, ...]]
    rounds: tuple[int, ...]
    readings: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()


def outline_path(ledger: Path) -> Path:
    """Where the outline of a ledger's search lies."""
    return ledger.with_name(f"{ledger.stem}.search.json")


def final_path(ledger: Path) -> Path:
    """Where the outline of its final lies."""
    return ledger.with_name(f"{ledger.stem}.final.json")


def read_outline(ledger: Path) -> Outline | None:
    """What a ledger's search is of; None where that was not written or cannot be read any more."""
    return _read(outline_path(ledger), Outline)


def read_final(ledger: Path) -> FinalOutline | None:
    """How the final of a ledger's search went; None before there was one."""
    return _read(final_path(ledger), FinalOutline)


def write(path: Path, value: Stored) -> None:
    """Raises CacheError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(value.model_dump_json(indent=1) + "\n")
        part.replace(path)
    except OSError as error:
        raise CacheError(f"{path}: cannot be written: {error.strerror}") from error


def branches_of(space: Space) -> tuple[BranchOutline, ...]:
    """Every variant of a space as it is searched."""
    return tuple(BranchOutline.of(space, branch) for branch in space.branches)


def _read(path: Path, kind: type[StoredT]) -> StoredT | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror}") from error


def readings_of(moments: Sequence[Moment], every_s: float) -> tuple[Reading, ...]:
    """What a watch read, one moment each `every_s` seconds."""
    return tuple(
        Reading(
            at_s=i * every_s,
            sm_mhz=_known(moment.sm_mhz),
            memory_mhz=_known(moment.memory_mhz),
            power_w=_known(moment.power_w),
            temperature_c=_known(moment.temperature_c),
            throttling=moment.throttling,
        )
        for i, moment in enumerate(moments)
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
