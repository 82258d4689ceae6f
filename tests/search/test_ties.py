"""The winner among points that tie."""

from __future__ import annotations

from helpers.searching import KNOBS, ONE

from tuner.search.ties import simplest_of_ties, simplicity
from tuner.space import Choice, Point


def point(**knobs: Choice) -> Point:
    values = {knob.name: knob.default for knob in KNOBS} | knobs
    return Point("one", tuple(values.items()))


def winner(*ranked: tuple[Point, float]) -> Point:
    points = {str(each): each for each, _ in ranked}
    rows = [(str(each), low) for each, low in ranked]
    return points[simplest_of_ties(rows, {name: simplicity(each, ONE) for name, each in points.items()})]


def test_a_tie_goes_to_the_simplest() -> None:
    far, near, slow = point(a=8, mode="fast"), point(a=2), point()
    assert winner((far, 1.0), (near, 0.99), (slow, 1.01)) == near
    assert winner((far, 1.0), (near, 1.001)) == far
    equal = point(a=2), point(b=4)
    assert winner(*((c, 1.0) for c in equal)) == winner(*((c, 1.0) for c in equal[::-1]))
