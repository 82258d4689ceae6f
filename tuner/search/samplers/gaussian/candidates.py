"""The points of one variant that a proposal chooses from."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from tuner.search.samplers.gaussian.grid import BranchGrid, Key, Rows
from tuner.space import Point

DRAWS = 200  # random points that a proposal checks against the constraints
POOL = 100  # valid random points that are kept


class Candidates:
    """Draws, moves and crossings within one variant; remembers which points are valid."""

    def __init__(self, grid: BranchGrid, rng: np.random.Generator, is_valid: Callable[[Point], bool]) -> None:
        self.grid, self.rng, self._is_valid = grid, rng, is_valid
        self._valid: dict[Key, bool] = {}
        self._pool: list[Rows] = []

    def valid(self, rows: Rows, taken: Collection[Key]) -> Rows:
        """The distinct rows that are valid and not `taken`."""
        kept: dict[Key, Rows] = {}
        for row in rows:
            key = self.grid.key(row)
            if key not in kept and key not in taken and self._allows(key, row):
                kept[key] = row
        return self._stacked(list(kept.values()))

    def _allows(self, key: Key, row: Rows) -> bool:
        found = self._valid.get(key)
        if found is None:
            found = self._valid[key] = self._is_valid(self.grid.point(row))
        return found

    def drawn(self, count: int, taken: Collection[Key]) -> Rows:
        """At most `count` valid points drawn uniformly; some of them may have been returned before.

        Fewer, and perhaps none, where constraints reject almost everything.
        """
        fresh = self.valid(self.rng.integers(0, self.grid.sizes, (DRAWS, len(self.grid.sizes))), taken)
        kept = [row for row in self._pool if self.grid.key(row) not in taken]
        self._pool = [*fresh, *kept][:POOL]
        return self._stacked(self._pool[:count])

    def moves(self, row: Rows, steps: int) -> Rows:
        """Every change of one knob of `row`, and `steps` random changes of two.

        In the latter an ordered knob moves by one or two choices and a category takes any.
        """
        sizes = self.grid.sizes
        single = np.repeat(row[None], int(sizes.sum()), axis=0)
        at = 0
        for position, size in enumerate(sizes):
            single[at : at + size, position] = np.arange(size)
            at += size
        if not len(sizes):
            return single
        double, each = np.repeat(row[None], steps, axis=0), np.arange(steps)
        for _ in range(2):
            knob = self.rng.integers(0, len(sizes), steps)
            moved = double[each, knob] + self.rng.choice([-2, -1, 1, 2], steps)
            moved = np.where(self.grid.ordered[knob], moved, self.rng.integers(0, sizes[knob]))
            double[each, knob] = np.clip(moved, 0, sizes[knob] - 1)
        return np.concatenate([single, double])

    def crossings(self, parents: list[Rows], count: int) -> Rows:
        """Points that take each knob from one of two random parents."""
        rows = self._stacked(parents)
        one, other = (rows[self.rng.integers(0, len(rows), count)] for _ in range(2))
        return np.where(self.rng.random(one.shape) < 0.5, one, other)

    def _stacked(self, rows: list[Rows]) -> Rows:
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self.grid.sizes))
