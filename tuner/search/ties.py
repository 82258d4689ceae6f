"""The winner among points that tie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tuner.space import Point, Space

Simplicity = tuple[float, str]  # fewest steps of its knobs from the defaults, then the text of the point


def simplicity(point: Point, space: Space) -> Simplicity:
    """By what points that tie are compared; the least is the simplest."""
    branch = space.branch(point.variant)
    steps = 0.0
    for knob, (_, value) in zip(branch.knobs, point.values, strict=True):
        apart = abs(knob.choices.index(value) - knob.choices.index(knob.default))
        steps += apart if knob.ordered else min(apart, 1)
    return steps, str(point)


def simplest_of_ties(ranked: Sequence[tuple[str, float]], simplicities: Mapping[str, Simplicity]) -> str:
    """The winner among finalists: the simplest of those that tie with the fastest.

    `ranked` holds (name, low), fastest first: the lower end of the interval of its time as a ratio to the fastest's.
    It ties when that is 1 or below. A fixed rule, so equal measurements always name the same winner.
    """
    ties = [name for name, low in ranked if low <= 1.0 or math.isclose(low, 1.0)]
    return min(ties, key=lambda name: simplicities[name])
