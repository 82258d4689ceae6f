"""The winner among points that tie."""

from __future__ import annotations

from helpers.searching import KNOBS, ONE

from tuner.search.ties import simplest_of_ties
from tuner.space import Choice, Point


def point(**knobs: Choice) -> Point:
    values = {knob.name: knob.default for knob in KNOBS} | knobs
    return Point("one", tuple(values.items()))


def test_a_tie_goes_to_the_simplest() -> None:
    far, near, slow = point(a=8, mode="fast"), point(a=2), point()
    assert simplest_of_ties([(far, 1.0), (near, 0.99), (slow, 1.01)], ONE) == near
    assert simplest_of_ties([(far, 1.0), (near, 1.001)], ONE) == far
    equal = point(a=2), point(b=4)
    assert simplest_of_ties([(c, 1.0) for c in equal], ONE) == simplest_of_ties([(c, 1.0) for c in equal[::-1]], ONE)
