"""Summing up and comparing timings."""

from __future__ import annotations

import math
import random

import pytest
from pydantic import ValidationError

from tuner.measurement.statistics import Untrusted, paired_speedup, summarise
from tuner.records import Performance


def test_equal_measurements_always_give_the_same_interval() -> None:
    rng = random.Random(1)
    ours = [1 + rng.random() / 10 for _ in range(50)]
    theirs = [1.5 + rng.random() / 10 for _ in range(50)]
    first = paired_speedup(ours, theirs)
    random.seed(99)  # nobody else's draws matter
    assert paired_speedup(ours, theirs) == first
    assert paired_speedup(list(ours), tuple(theirs)) == first


def test_the_interval_holds_the_median() -> None:
    rng = random.Random(2)
    for _ in range(20):
        ours = [rng.lognormvariate(0, 0.1) for _ in range(20)]
        theirs = [rng.lognormvariate(0.2, 0.1) for _ in range(20)]
        speedup, low, high = paired_speedup(ours, theirs)
        assert low <= speedup <= high


def test_drift_common_to_both_cancels() -> None:
    drift = [1 + i / 10 for i in range(30)]
    assert paired_speedup(drift, [2 * x for x in drift]) == pytest.approx((2.0, 2.0, 2.0))


def test_more_samples_give_a_narrower_interval() -> None:
    rng = random.Random(3)
    ours = [1 + rng.random() for _ in range(400)]
    theirs = [1 + rng.random() for _ in range(400)]

    def width(count: int) -> float:
        _, low, high = paired_speedup(ours[:count], theirs[:count])
        return high - low

    assert width(400) < width(20) / 2


def test_surplus_samples_are_ignored() -> None:
    assert paired_speedup([1.0, 1.0], [2.0, 2.0, 900.0]) == (2.0, 2.0, 2.0)


def test_median_and_quartiles() -> None:
    summary = summarise([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (summary.q25_ms, summary.latency_ms, summary.q75_ms, summary.samples) == (2.0, 3.0, 4.0, 5)
    assert summarise([2.0]) == Performance(latency_ms=2.0, q25_ms=2.0, q75_ms=2.0, samples=1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_a_time_that_is_not_positive_and_finite_is_never_a_result(bad: float) -> None:
    with pytest.raises(Untrusted, match="not positive and finite"):
        summarise([1.0, bad, 2.0])
    for field in ("latency_ms", "q25_ms", "q75_ms"):
        values = {"latency_ms": 1.0, "q25_ms": 1.0, "q75_ms": 1.0, "samples": 3}
        Performance.model_validate(values)
        with pytest.raises(ValidationError):
            Performance.model_validate({**values, field: bad})


def test_no_times_are_no_result() -> None:
    with pytest.raises(Untrusted):
        summarise([])


def test_samples_of_one_round_are_drawn_together() -> None:
    ours, theirs = [1.0] * 30, [1.0] * 10 + [1.2] * 10 + [1.1] * 10
    _, low, high = paired_speedup(ours, theirs)
    _, low_by_rounds, high_by_rounds = paired_speedup(ours, theirs, [10, 10, 10])
    assert (low_by_rounds, high_by_rounds) == (1.0, 1.2)
    assert low_by_rounds < low and high <= high_by_rounds
