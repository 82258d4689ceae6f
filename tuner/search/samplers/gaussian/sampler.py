"""Proposes the point of which a model of the times so far expects the largest improvement."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence

import numpy as np

from tuner.search.samplers.base import Sampler
from tuner.search.samplers.gaussian.candidates import Candidates
from tuner.search.samplers.gaussian.grid import BranchGrid, Grid, Key, Matrix, Rows
from tuner.search.samplers.gaussian.model import Model
from tuner.search.samplers.gaussian.prior import FADED, Prior, Seen
from tuner.search.samplers.gaussian.targets import targets
from tuner.space import Point, Space

STARTUP = 8  # points before the model is asked
STARTUP_OF_A_VARIANT = 2  # of them at least that many of each variant
NEGLECTED_EVERY, ENOUGH_OF_A_VARIANT = 6, 10  # so that a variant with a poor default gets its chance
GROWTH = 1.2  # the model learns again when there are so many times the points
ELITE = 10  # best points that are crossed
CLIMBED = 4  # of them, points that are moved from
DRAWN, CROSSED, STEPS = 100, 60, 80  # candidates: random ones, crossings, and moves of two knobs from each point
SURE_AFTER, SURE_FOR = 50, 20  # points told and proposals in a row before the model is believed that little is left

ERF = np.vectorize(math.erf, otypes=[float])


class Gaussian(Sampler):
    """A Gaussian process on the logarithm of the time, and the point of which it expects most."""

    is_guided = True

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self.rng = np.random.default_rng(seed)
        self.grid = Grid(space)
        self.model = Model(self.grid, self.rng)
        self.candidates = [Candidates(grid, self.rng, self.is_valid) for grid in self.grid.branches]
        self.rows: list[tuple[BranchGrid, Rows]] = []  # of each point told
        self.features: list[Rows] = []
        self.times: list[float] = []
        self.learned_at = 0  # points told when the model last learned
        self.prior: Prior | None = None
        self.gains: deque[float] = deque(maxlen=SURE_FOR)  # what the last proposals were expected to improve

    def tell(self, point: Point, latency_ms: float) -> None:
        super().tell(point, latency_ms)
        grid = self.grid.grid_of(point)
        row = grid.row(point)
        self.rows.append((grid, row))
        self.features.append(self.grid.features(grid, row[None]))
        self.times.append(latency_ms)

    def believe(self, seen: Sequence[Seen]) -> None:
        self.prior = Prior.of(self.grid, seen, self.rng)

    @property
    def expected_gain(self) -> float:
        if len(self.times) < SURE_AFTER or len(self.gains) < SURE_FOR:
            return math.inf
        return max(self.gains)

    def propose(self, under_way: Collection[Point]) -> Point | None:
        located = sorted(grid.key(grid.row(point)) for point in under_way for grid in [self.grid.grid_of(point)])
        taken = {grid.key(row) for grid, row in self.rows} | set(located)
        found = self._start(taken) if self._is_starting(len(located)) else self._best_expected(taken, located)
        if found is not None:
            return found
        return self.nearest(self._best_points(1)[0] if self._any_ok() else self.space.branches[0].default, under_way)

    # ---- the first points ----

    def _is_starting(self, under_way: int) -> bool:
        if self.prior is not None and len(self.rows) >= 2 and self._any_ok():
            return False
        wanted = max(STARTUP, STARTUP_OF_A_VARIANT * len(self.grid.branches))
        return len(self.rows) + under_way < wanted or len(self.rows) < 2 or not self._any_ok()

    def _start(self, taken: Collection[Key]) -> Point | None:
        """A random point of the variant that has been tried least."""
        counts = [sum(key[0] == grid.number for key in taken) for grid in self.grid.branches]
        for _, number in sorted((count, number) for number, count in enumerate(counts)):
            rows = self.candidates[number].drawn(1, taken)
            if len(rows):
                return self.grid.branches[number].point(rows[0])
        return None

    def _any_ok(self) -> bool:
        return any(time < math.inf for time in self.times)

    def _best_points(self, count: int) -> list[Point]:
        return [grid.point(row) for grid, row in self._best(count)]

    def _best(self, count: int, number: int | None = None) -> list[tuple[BranchGrid, Rows]]:
        """The fastest points so far, of one variant or of all."""
        order = [int(at) for at in np.argsort(self.times, kind="stable") if self.times[at] < math.inf]
        return [self.rows[at] for at in order if number is None or self.rows[at][0].number == number][:count]

    # ---- the others ----

    def _best_expected(self, taken: Collection[Key], under_way: list[Key]) -> Point | None:
        """The candidate with the largest expected improvement, whichever variant it is of."""
        offers = self._offers(taken)
        if not offers:
            return None
        features, found = np.concatenate(self.features), targets(self.times)
        offered = np.concatenate([self.grid.features(grid, rows) for grid, rows in offers])
        known, believed = self._believed(features, found, offered)
        if len(found) >= max(self.learned_at + 2, self.learned_at * GROWTH):
            self.model.learn(features, found - known)
            self.learned_at = len(found)
        waiting = [self.grid.features(self.grid.branches[number], np.array([row])) for number, *row in under_way]
        self.model.condition(features, found - known, np.concatenate([features[:0], *waiting]))
        mean, deviation = self.model.predict(offered)
        expected = _expected_improvement(mean + believed, deviation, float(found.min()))
        self.gains.append(1 - math.exp(-float(expected.max())))
        points = [(grid, row) for grid, rows in offers for row in rows]
        grid, row = points[int(np.argmax(expected))]
        return grid.point(row)

    def _believed(self, features: Rows, found: Matrix, offered: Rows) -> tuple[Matrix, Matrix]:
        """The prior mean where points were `found` and where they are `offered`; zeros without other searches.

        Once they have faded, too.
        """
        if self.prior is None or len(found) >= FADED:
            return np.zeros(len(features)), np.zeros(len(offered))
        known, believed = self.prior.mean(features), self.prior.mean(offered)
        agreement = self.prior.agreement(known, found)
        return agreement * known, agreement * believed

    def _offers(self, taken: Collection[Key]) -> list[tuple[BranchGrid, Rows]]:
        """Each variant and the rows of it to choose from.

        Every sixth proposal is for the variant tried least, until that has been tried often enough to be judged.
        """
        found = [(each.grid, self._offered(each, taken)) for each in self.candidates]
        found = [(grid, rows) for grid, rows in found if len(rows)]
        tried = {grid.number: sum(key[0] == grid.number for key in taken) for grid, _ in found}
        least = min(found, key=lambda offer: tried[offer[0].number], default=None)
        neglected = least is not None and tried[least[0].number] < ENOUGH_OF_A_VARIANT
        return [least] if least and neglected and len(taken) % NEGLECTED_EVERY == 0 else found

    def _offered(self, candidates: Candidates, taken: Collection[Key]) -> Rows:
        """Random points, crossings, and moves from the variant's points among the best of all, or from its best."""
        number = candidates.grid.number
        parts = [candidates.drawn(max(20, DRAWN // len(self.candidates)), taken)]
        elite = [row for grid, row in self._best(ELITE) if grid.number == number]
        climbed = [row for grid, row in self._best(CLIMBED) if grid.number == number]
        climbed = climbed or [row for _, row in self._best(1, number)]
        parts += [candidates.valid(candidates.moves(row, STEPS), taken) for row in climbed]
        if len(elite) > 1:
            parts.append(candidates.valid(candidates.crossings(elite, CROSSED), taken))
        rows = np.concatenate(parts)
        return np.unique(rows, axis=0) if rows.size else rows[:1]


def _expected_improvement(mean: Matrix, deviation: Matrix, best: float) -> Matrix:
    """Of a normal variable below `best`, in the units of its mean."""
    ahead = (best - mean) / deviation
    density = np.exp(-0.5 * ahead * ahead) / math.sqrt(2 * math.pi)
    found: Matrix = deviation * (ahead * 0.5 * (1 + ERF(ahead / math.sqrt(2))) + density)
    return found
