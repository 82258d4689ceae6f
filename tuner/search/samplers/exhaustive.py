"""Every valid point, in the order of the choices."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tuner.search.samplers.base import Sampler
from tuner.space import Point, Space


class Exhaustive(Sampler):
    """Every valid point, in the order of the choices."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self.ahead: Iterator[Point] = space.points()
        self.passed: dict[Point, None] = {}  # came up, and were not told yet

    def tell(self, point: Point, latency_ms: float) -> None:
        super().tell(point, latency_ms)
        self.passed.pop(point, None)

    def propose(self, under_way: Collection[Point]) -> Point | None:
        for point in self.ahead:
            if point not in self.told:
                self.passed[point] = None
                if point not in under_way:
                    return point
        # A search that is killed gives up the points that it had under way.
        return next((point for point in self.passed if point not in under_way), None)
