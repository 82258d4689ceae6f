"""What TPE finds, and what it is told."""

from __future__ import annotations

from helpers.searching import ONE, TWO, bowl
from optuna.trial import TrialState

from tuner.search.samplers import Tpe


def run(sampler: Tpe, count: int) -> float:
    """The best time after `count` trials on the bowl."""
    for _ in range(count):
        point = sampler.propose(set())
        assert point is not None
        sampler.tell(point, bowl(point).latency_ms)
    return min(sampler.told.values())


def test_it_comes_near_the_least_of_a_bowl_in_a_quarter_of_the_space() -> None:
    assert run(Tpe(TWO, 0), 60) <= 1.5


def test_rejected_points_are_counted_and_told_as_pruned() -> None:
    sampler = Tpe(ONE, 0)
    run(sampler, 40)
    states = [trial.state for trial in sampler.study.get_trials()]
    assert set(sampler.rejected) == {"a*b<=64", "not odd with 1"}
    assert states.count(TrialState.COMPLETE) >= 40
    assert states.count(TrialState.PRUNED) >= sum(sampler.rejected.values())
    assert TrialState.FAIL not in states  # it would be deaf to them


def test_what_is_under_way_is_running_and_what_is_given_up_is_not() -> None:
    sampler, (one, two) = Tpe(ONE, 0), list(ONE.points())[:2]
    sampler.propose({one, two})
    assert {one, two} < set(sampler.open)
    sampler.propose({two})
    assert one not in sampler.open
    assert two in sampler.open
