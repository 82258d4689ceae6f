"""Two devices are said to differ when the same points differ by more than the noise, all in one direction."""

from __future__ import annotations

import pytest

from tuner.execution.likeness import POINTS, Likeness
from tuner.records import Evaluation, Performance, Status


def measured(latency_ms: float, spread: float = 0.01, samples: int = 10) -> Evaluation:
    performance = Performance(
        latency_ms=latency_ms, q25_ms=latency_ms * (1 - spread), q75_ms=latency_ms * (1 + spread), samples=samples
    )
    return Evaluation.model_construct(status=Status.OK, performance=performance)


def told(ratios: list[float], spread: float = 0.01) -> str | None:
    likeness = Likeness()
    said = [likeness.told(measured(ms, spread), measured(ms * ratio, spread)) for ms, ratio in enumerate(ratios, 1)]
    assert said[:-1] == [None] * (POINTS - 1)
    return said[-1]


@pytest.mark.parametrize(("ratios", "said"), [([1.1, 1.2, 1.3], "1.20 times"), ([0.8, 0.7, 0.9], "0.80 times")])
def test_a_device_that_is_slower_or_faster_at_every_point_is_said(ratios: list[float], said: str) -> None:
    assert told(ratios) == said


@pytest.mark.parametrize("ratios", [[1.1, 0.9, 1.1], [1.0, 1.2, 1.2], [1.02, 1.02, 1.02]])
def test_what_differs_now_and_then_or_hardly_is_noise(ratios: list[float]) -> None:
    assert told(ratios, spread=0.001) is None


def test_quartiles_that_overlap_are_no_difference() -> None:
    assert told([1.1, 1.1, 1.1], spread=0.1) is None


def test_a_point_that_was_sampled_too_little_is_asked_for_again() -> None:
    likeness = Likeness(asked=1)
    assert not likeness.wants(measured(1.0, samples=1))
    assert likeness.told(measured(1.0), measured(1.0, samples=1)) is None
    assert likeness.asked == 0 and likeness.wants(measured(1.0))
