"""What a search expects of a sampler."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from typing import ClassVar

from tuner.space import Point, Space


class Sampler(ABC):
    """Proposes the points of a search, one at a time.

    It is told every result, of this search or of another on the same study, and at
    each proposal what is under way. The same seed, results and points under way give
    the same proposals. tests/search/samplers/test_conformance.py holds every sampler to this.
    """

    is_guided: ClassVar[bool] = False  # whether it has a use for what it is told to `believe`

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.told: dict[Point, float] = {}  # point -> ms, infinite where the trial failed
        self.rejected: Counter[str] = Counter()  # constraint -> points of the sampler's that it refused

    def believe(self, seen: Sequence[Sequence[tuple[Point, float]]]) -> None:
        """Told once, before anything else: points of this space as other searches measured them, a list a search.

        Times are in ms, infinite for failures, and those of one search alone compare. They may guide proposals, and a
        point in them is as new as any other. A sampler that is not guided forgets them.
        """
        return None

    def tell(self, point: Point, latency_ms: float) -> None:
        """A point was measured; `latency_ms` is infinite where it failed."""
        self.told[point] = latency_ms

    @property
    def expected_gain(self) -> float:
        """The part of the best time that a further trial is expected to save; infinite where no model can say."""
        return math.inf

    @abstractmethod
    def propose(self, under_way: Collection[Point]) -> Point | None:
        """A valid point that was not told and is not under way; None when no such point is found.

        The work is bounded whatever the constraints reject.
        """

    def is_new(self, point: Point, under_way: Collection[Point]) -> bool:
        return point not in self.told and point not in under_way

    def is_valid(self, point: Point) -> bool:
        """Whether no constraint rejects `point`; the one that does is counted."""
        rule = self.space.rejected_by(point)
        if rule is not None:
            self.rejected[rule] += 1
        return rule is None

    def nearest(self, point: Point, under_way: Collection[Point]) -> Point | None:
        """The valid new point nearest to `point`."""
        return self.space.nearest(point, lambda near: self.is_new(near, under_way))
