"""The search space: knobs, points, constraints and the moves between points.

Everything here is pure Python on small tuples; it knows neither kernels nor
samplers.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from tuner.errors import TemplateError

Choice = int | str | bool
NEAREST_LIMIT = 20_000  # points that a walk to the nearest valid one looks at
REJECTED_IN_A_ROW = 1_000_000  # before a branch that is enumerated is left
DRAWS = 1000  # points that say which constraint leaves a space empty


@dataclass(frozen=True)
class Knob:
    """One tunable choice of a template.

    `choices` are listed from small to large for a knob that counts. `default`
    is the choice of the first trial. Integers are ordered (searched by index);
    strings and booleans are categories. `doc` is one line for `tuner templates`.
    """

    name: str
    choices: tuple[Choice, ...]
    default: Choice
    doc: str = ""

    def __post_init__(self) -> None:
        # The name and, of a category, the choices become names of C macros.
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise TemplateError(f"knob {self.name!r}: a name is a lower-case identifier")
        kinds = {type(choice) for choice in self.choices}
        if len(kinds) != 1 or not kinds <= {int, str, bool}:
            raise TemplateError(f"knob {self.name}: choices must be all int, all str or all bool")
        if kinds == {str} and not all(re.fullmatch(r"[A-Za-z0-9_]+", str(choice)) for choice in self.choices):
            raise TemplateError(f"knob {self.name}: a word to choose has letters, digits and _ alone")
        if len(set(self.choices)) != len(self.choices):
            raise TemplateError(f"knob {self.name}: a choice is listed twice")
        if type(self.default) not in kinds or self.default not in self.choices:
            raise TemplateError(f"knob {self.name}: default {self.default!r} is not among its choices")
        if self.ordered and list(self.choices) != sorted(self.choices):
            raise TemplateError(f"knob {self.name}: integer choices go from small to large")

    @property
    def ordered(self) -> bool:
        return all(type(choice) is int for choice in self.choices)

    def has(self, value: object) -> bool:
        """Whether `value` is one of the choices, of their very type: True is not 1."""
        return any(type(value) is type(choice) and value == choice for choice in self.choices)


class Facts(SimpleNamespace):
    """What a constraint may look at beside the knobs: the workload's axes and the device's limits.

    Always present: `cores` (CPU cores or multiprocessors), `shared_memory_per_block` (bytes, 0 on
    a CPU), `capability` ((major, minor), (0, 0) on a CPU), `device` ("cuda" or "cpu"). The
    template's own `axes()` adds the rest.
    """


@dataclass(frozen=True)
class Constraint:
    """A named rule. `allows(knobs, facts)` says whether a point may be compiled at all.

    `knobs` has one attribute a knob; `facts` is a `Facts`.
    """

    name: str
    allows: Callable[[SimpleNamespace, Facts], bool]


@dataclass(frozen=True)
class Point:
    """The variant and its knob values, in the variant's knob order."""

    variant: str
    values: tuple[tuple[str, Choice], ...]

    @classmethod
    def of(cls, variant: str, knobs: Mapping[str, Choice]) -> Point:
        return cls(variant, tuple(knobs.items()))

    @property
    def knobs(self) -> dict[str, Choice]:
        return dict(self.values)

    def __str__(self) -> str:
        return " ".join([self.variant, *(f"{name}={_shown(value)}" for name, value in self.values)])


def _shown(value: Choice) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Branch:
    """One variant's part of a space: its knobs (perhaps narrowed) and its constraints."""

    variant: str
    knobs: tuple[Knob, ...]
    constraints: tuple[Constraint, ...] = ()

    def __len__(self) -> int:
        return math.prod(len(knob.choices) for knob in self.knobs)

    @property
    def default(self) -> Point:
        return Point(self.variant, tuple((knob.name, knob.default) for knob in self.knobs))

    def drawn(self, rng: random.Random) -> Point:
        """A point drawn uniformly, valid or not."""
        return Point(self.variant, tuple((knob.name, rng.choice(knob.choices)) for knob in self.knobs))


@dataclass(frozen=True)
class Space:
    """All points of a search: one branch a variant, and the facts its constraints look at."""

    branches: tuple[Branch, ...]
    facts: Facts = field(default_factory=Facts, compare=False)

    def __len__(self) -> int:
        """Number of points before constraints."""
        return sum(len(branch) for branch in self.branches)

    def branch(self, variant: str) -> Branch:
        return next(branch for branch in self.branches if branch.variant == variant)

    def has(self, point: Point) -> bool:
        """Whether `point` is a point of this space, valid or not: its variant, its knobs in order, their choices."""
        branch = next((branch for branch in self.branches if branch.variant == point.variant), None)
        return (
            branch is not None
            and [knob.name for knob in branch.knobs] == [name for name, _ in point.values]
            and all(knob.has(value) for knob, (_, value) in zip(branch.knobs, point.values, strict=True))
        )

    def rejected_by(self, point: Point) -> str | None:
        """Name of the first constraint that `point` breaks, or None for a valid point."""
        knobs = SimpleNamespace(**point.knobs)
        for constraint in self.branch(point.variant).constraints:
            try:
                allowed = constraint.allows(knobs, self.facts)
            except Exception as error:  # the template's own code
                raise TemplateError(
                    f"variant {point.variant}: constraint {constraint.name!r} raised {type(error).__name__}: {error}"
                ) from error
            if not allowed:
                return constraint.name
        return None

    @functools.cached_property
    def defaults(self) -> tuple[Point, ...]:
        """For every branch its default, or the valid point nearest to it; the first trials of a search.

        A branch in which bounded work finds no valid point has none.
        """
        found = (self._in_branch(branch, branch.default, lambda _: True, NEAREST_LIMIT) for branch in self.branches)
        return tuple(point for point in found if point is not None)

    def emptiness(self) -> str:
        """Why no valid point was found, in one line: the constraint that rejects most."""
        rng, rules = random.Random(0), Counter[str]()
        for _ in range(DRAWS):
            point = self.drawn(rng)
            rules[f"variant {point.variant}: constraint {self.rejected_by(point)!r} rejects"] += 1
        most, count = rules.most_common(1)[0]
        return f"{most} {count} of {DRAWS} random points"

    def drawn(self, rng: random.Random) -> Point:
        """A point drawn uniformly, valid or not."""
        branch = rng.choices(self.branches, weights=[len(branch) for branch in self.branches])[0]
        return branch.drawn(rng)

    def points(self, patience: int = REJECTED_IN_A_ROW) -> Iterator[Point]:
        """Every valid point, branch by branch, in the order of the choices.

        A branch is left after `patience` rejected points in a row: the rest of it is taken to be
        empty, so that a space without valid points costs seconds and not hours.
        """
        for branch in self.branches:
            names = [knob.name for knob in branch.knobs]
            rejected = 0
            for values in itertools.product(*(knob.choices for knob in branch.knobs)):
                point = Point(branch.variant, tuple(zip(names, values, strict=True)))
                if self.rejected_by(point) is None:
                    rejected = 0
                    yield point
                elif (rejected := rejected + 1) >= patience:
                    break

    def neighbours(self, point: Point) -> Iterator[Point]:
        """Points one move away: an ordered knob steps by one, a category takes any other choice."""
        for position, knob in enumerate(self.branch(point.variant).knobs):
            at = knob.choices.index(point.values[position][1])
            if knob.ordered:
                others = [i for i in (at - 1, at + 1) if 0 <= i < len(knob.choices)]
            else:
                others = [i for i in range(len(knob.choices)) if i != at]
            for other in others:
                values = list(point.values)
                values[position] = (knob.name, knob.choices[other])
                yield Point(point.variant, tuple(values))

    def nearest(self, start: Point, wanted: Callable[[Point], bool], limit: int = NEAREST_LIMIT) -> Point | None:
        """The valid point fewest moves from `start` for which `wanted` holds, or None within `limit`.

        Breadth-first, so it passes through invalid points; ties go to the first
        in the order of the knobs, so the answer depends on nothing but the arguments.
        In a branch larger than `limit` random points are tried after the nearest ones.
        When the branch of `start` holds none, the other branches follow in order.
        """
        own = self.branch(start.variant)
        for branch in (own, *(branch for branch in self.branches if branch is not own)):
            found = self._in_branch(branch, start if branch is own else branch.default, wanted, limit)
            if found is not None:
                return found
        return None

    def _in_branch(self, branch: Branch, start: Point, wanted: Callable[[Point], bool], limit: int) -> Point | None:
        queue, seen = deque([start]), {start}
        while queue:
            point = queue.popleft()
            if wanted(point) and self.rejected_by(point) is None:
                return point
            for neighbour in self.neighbours(point) if len(seen) < limit else ():
                if neighbour not in seen:
                    seen.add(neighbour)
                    queue.append(neighbour)
        if len(branch) <= limit:
            return None
        rng = random.Random(str(start))
        drawn = (branch.drawn(rng) for _ in range(limit))
        return next((point for point in drawn if wanted(point) and self.rejected_by(point) is None), None)
