"""Points drawn uniformly."""

from __future__ import annotations

import random
from collections.abc import Collection

from tuner.search.samplers.base import Sampler
from tuner.space import Point, Space

DRAWS = 1000  # before the nearest valid point to the last draw is taken


class Random(Sampler):
    """Points drawn uniformly from those that no constraint rejects."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self.random = random.Random(seed)

    def propose(self, under_way: Collection[Point]) -> Point | None:
        point = self.space.drawn(self.random)
        for _ in range(DRAWS):
            if self.is_new(point, under_way) and self.is_valid(point):
                return point
            point = self.space.drawn(self.random)
        return self.nearest(point, under_way)
