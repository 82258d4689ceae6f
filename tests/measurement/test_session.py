"""Evaluating: how often something is sampled, and whom a final does not believe."""

from __future__ import annotations

import pytest
from helpers.tricks import CONTROL, Bench

from tuner.measurement.session import Session, count
from tuner.measurement.statistics import Untrusted
from tuner.verification.criterion import Wrong


@pytest.mark.parametrize(
    ("one_ms", "samples"),
    [(1.0, 10), (200.0, 10), (250.0, 8), (1000.0, 3), (60_000.0, 3)],
)
def test_a_slow_forward_is_sampled_for_a_time_and_thrice_at_least(one_ms: float, samples: int) -> None:
    assert count(10, 2.0, one_ms) == samples


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session with one right finalist entered, by the name `right`."""
    bench = Bench("gn_mean", tmp_path_factory.mktemp("bench"))
    path, sha256 = bench.file(CONTROL)
    bench.session.enter("right", path, sha256)
    return bench.session


def test_a_right_finalist_with_a_likely_time_is_settled(session: Session) -> None:
    session.settle("right", 1.0, 1.9)  # on a CPU half a floor is taken as proof


def test_a_finalist_below_its_floor_is_refused(session: Session) -> None:
    with pytest.raises(Untrusted, match=r"measured 1\.0000 ms, below the physical floor of 2\.1000 ms"):
        session.settle("right", 1.0, 2.1)


def test_a_finalist_that_is_wrong_when_timed_is_refused(session: Session) -> None:
    right = session.finalists["right"]
    session.finalists["wrong"] = lambda x: right(x) + 1
    with pytest.raises(Wrong, match="right when it was verified, wrong when it was timed"):
        session.settle("wrong", 1.0, 0.0)


def test_a_finalist_that_returns_a_result_of_before_is_refused(session: Session) -> None:
    """Even the right one: what a forward returned is overwritten ahead of the next."""
    kept = session.finalists["right"](*session.suite.cases[0].inputs)
    session.finalists["kept"] = lambda x: kept
    with pytest.raises(Wrong):
        session.settle("kept", 1.0, 0.0)
