"""The winner among points that tie."""

from __future__ import annotations

import math

from tuner.space import Point, Space


def simplest_of_ties(ranked: list[tuple[Point, float]], space: Space) -> Point:
    """The winner among finalists: the simplest of those that tie with the fastest.

    `ranked` holds (point, low), fastest first: the lower end of the interval of its time
    as a ratio to the fastest's. It ties when that is 1 or below. Simplest:
    fewest steps of its knobs from the defaults, then the text of the point; a
    fixed rule, so equal measurements always name the same winner.
    """

    def distance(point: Point) -> tuple[float, str]:
        branch = space.branch(point.variant)
        steps = 0.0
        for knob, (_, value) in zip(branch.knobs, point.values, strict=True):
            apart = abs(knob.choices.index(value) - knob.choices.index(knob.default))
            steps += apart if knob.ordered else min(apart, 1)
        return steps, str(point)

    ties = [point for point, low in ranked if low <= 1.0 or math.isclose(low, 1.0)]
    return min(ties, key=distance)
