"""Points as numbers: the index of each knob's choice, and how far two choices are apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.space import Branch, Choice, Knob, Point, Space

Rows = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.floating[Any]]
Key = tuple[int, ...]  # index of the branch, then the index of each knob's choice in it

HALVINGS = 8  # powers of two in a choice that still count


class BranchGrid:
    """One variant's points: a row has the index of each of its knobs' choices."""

    def __init__(self, number: int, branch: Branch) -> None:
        self.number, self.branch = number, branch
        self.sizes = np.array([len(knob.choices) for knob in branch.knobs], dtype=np.int64)
        self.ordered = np.array([knob.ordered for knob in branch.knobs], dtype=bool)
        self.default = self.row(branch.default)

    def row(self, point: Point) -> Rows:
        pairs = zip(self.branch.knobs, point.values, strict=True)
        return np.array([knob.choices.index(value) for knob, (_, value) in pairs], dtype=np.int64)

    def point(self, row: Rows) -> Point:
        pairs = zip(self.branch.knobs, row.tolist(), strict=True)
        return Point(self.branch.variant, tuple((knob.name, knob.choices[at]) for knob, at in pairs))

    def key(self, row: Rows) -> Key:
        return (self.number, *row.tolist())


class Grid:
    """All points of a space in one table of features, for the model.

    The first column is the variant, then comes a column for each knob, one for all variants that have a knob of
    that name and type. A row has the index of a choice among all that any variant has; one past the last
    where the variant has no such knob.
    """

    def __init__(self, space: Space) -> None:
        self.branches = [BranchGrid(number, branch) for number, branch in enumerate(space.branches)]
        self._numbers = {grid.branch.variant: grid.number for grid in self.branches}
        knobs: dict[tuple[str, type], list[Knob]] = {}
        for branch in space.branches:
            for knob in branch.knobs:
                knobs.setdefault((knob.name, type(knob.choices[0])), []).append(knob)
        self._columns = {key: column for column, key in enumerate(knobs, start=1)}
        self._choices = [_union(of_all) for of_all in knobs.values()]
        self._lookup = [self._lookup_of(branch) for branch in space.branches]
        self.distances = self._distances(len(space.branches))

    def grid_of(self, point: Point) -> BranchGrid:
        return self.branches[self._numbers[point.variant]]

    def features(self, grid: BranchGrid, rows: Rows) -> Rows:
        """(n, knobs) rows of one variant as (n, columns) features."""
        found = np.tile(np.array([grid.number, *map(len, self._choices)], dtype=np.int64), (len(rows), 1))
        for position, (column, indices) in enumerate(self._lookup[grid.number]):
            found[:, column] = indices[rows[:, position]]
        return found

    def _lookup_of(self, branch: Branch) -> list[tuple[int, Rows]]:
        """For each knob its column, and the column's index of each of its choices."""
        found = []
        for knob in branch.knobs:
            column = self._columns[knob.name, type(knob.choices[0])]
            at = {choice: index for index, choice in enumerate(self._choices[column - 1])}
            found.append((column, np.array([at[choice] for choice in knob.choices], dtype=np.int64)))
        return found

    def _distances(self, variants: int) -> list[tuple[int, Matrix]]:
        """(column, distance of any two of its indices, from 0 to 1); a column that never varies has none."""
        found: list[tuple[int, Matrix]] = []
        if variants > 1:
            found.append((0, 1.0 - np.eye(variants)))
        for column, choices in enumerate(self._choices, start=1):
            if len(choices) == 1 and variants == 1:
                continue
            if any(type(choice) is not int for choice in choices):
                found.append((column, 1.0 - np.eye(len(choices) + 1)))
                continue
            found.append((column, _apart(np.arange(len(choices)))))
            halvings = np.array([_halvings(int(choice)) for choice in choices])
            if np.any(np.diff(halvings) < 0):  # not all powers of two: how often a size can be halved may matter more
                found.append((column, _apart(halvings)))
        return found


def _union(knobs: Iterable[Knob]) -> list[Choice]:
    """The choices of all, from small to large where they count."""
    found = list(dict.fromkeys(choice for knob in knobs for choice in knob.choices))
    return sorted(found) if all(type(choice) is int for choice in found) else found


def _apart(values: npt.NDArray[np.int64]) -> Matrix:
    """Distances of values as a part of their range, and 1 from each to the absent choice after the last."""
    found = np.ones((len(values) + 1, len(values) + 1))
    span = max(1, int(values.max() - values.min()))
    found[:-1, :-1] = np.abs(np.subtract.outer(values, values)) / span
    found[-1, -1] = 0.0
    return found


def _halvings(value: int) -> int:
    """How often `value` can be halved: 4 for 48. Vectors, warps and banks come in powers of two."""
    return min((value & -value).bit_length() - 1, HALVINGS) if value else HALVINGS
