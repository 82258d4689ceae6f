"""What other searches say about a space's points: a mean for the model, as far as the points measured here agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuner.search.samplers.gaussian.grid import Grid, Matrix, Rows
from tuner.search.samplers.gaussian.model import Model
from tuner.search.samplers.gaussian.targets import targets
from tuner.space import Point

Seen = Sequence[tuple[Point, float]]  # points and their times in ms, infinite where they failed
FADED = 60  # points measured here after which others are no more needed; where they mislead, they would do so for long
DOUBT = 4.0  # points measured here that weigh as much as the belief that elsewhere is like here


class Prior:
    """A model of searches, each measured by its own best time."""

    def __init__(self, model: Model, rows: Rows, column: Matrix) -> None:
        self.model, self.spread = model, float(column.var())
        model.learn(rows, column)
        model.condition(rows, column, rows[:0])

    @classmethod
    def of(cls, grid: Grid, seen: Sequence[Seen], rng: np.random.Generator) -> Prior | None:
        """None where no search has two points that did not fail."""
        features, expected = [], []
        for search in seen:
            if sum(time < math.inf for _, time in search) > 1:
                of_search = targets([time for _, time in search])
                expected.append(of_search - of_search.min())
                features += [grid.features(g, g.row(p)[None]) for p, _ in search for g in [grid.grid_of(p)]]
        return cls(Model(grid, rng), np.concatenate(features), np.concatenate(expected)) if expected else None

    def mean(self, features: Rows) -> Matrix:
        """What is expected at each row."""
        return self.model.predict(features)[0]

    def agreement(self, mean: Matrix, found: Matrix) -> float:
        """How much of `mean` is to be believed beside what was `found` at the same points, from 0 to 1.

        The slope of a line through both, with `DOUBT` points' weight on a slope of 1; less with each point found.
        """
        apart = mean - mean.mean()
        doubt = DOUBT * self.spread
        slope = (apart @ (found - found.mean()) + doubt) / (apart @ apart + doubt + 1e-12)
        return float(np.clip(slope, 0.0, 1.0)) * max(0.0, 1 - len(found) / FADED)
