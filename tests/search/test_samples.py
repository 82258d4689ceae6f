"""Who wins a final: decided from its samples alone, whatever became of the others."""

from __future__ import annotations

from tuner.search.samples import Samples
from tuner.search.ties import simplicity
from tuner.space import Branch, Knob, Point, Space

SPACE = Space((Branch("v", (Knob("a", (1, 2, 4), 1),)),))


def point(a: int) -> Point:
    return Point("v", (("a", a),))


def winner(times: dict[int, list[float]], rounds: list[int]) -> Point:
    """The winner among points by their samples; `rounds` has the samples of each round."""
    points = {str(point(a)): point(a) for a in times}
    samples = Samples({str(point(a)): taken for a, taken in times.items()}, rounds)
    return points[samples.winner({name: simplicity(each, SPACE) for name, each in points.items()})]


def test_the_fastest_wins() -> None:
    assert winner({1: [2.0] * 10, 4: [1.0] * 10}, [5, 5]) == point(4)


def test_a_tie_goes_to_the_simpler_point() -> None:
    assert winner({1: [1.0, 1.1] * 5, 4: [1.1, 1.0] * 5}, [5, 5]) == point(1)


def test_one_that_was_dropped_early_cannot_win_by_its_early_samples() -> None:
    """It was sampled while the clocks were up, the rest for much longer, and later while they were down."""
    assert winner({1: [1.1] * 5, 2: [1.2] * 20, 4: [1.3] * 20}, [5, 5, 5, 5]) == point(2)


def test_one_that_was_dropped_early_cannot_tie_by_its_scatter() -> None:
    assert winner({1: [15.0, 0.9, 16.0, 0.3], 4: [1.0] * 20}, [4, 4, 4, 4, 4]) == point(4)
