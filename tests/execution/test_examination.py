"""Examining: how often something is sampled, and whose time is not believed."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from tricks import CONTROL, Court

from tuner.execution.examination import Examination, Failed, count
from tuner.measurement.statistics import Untrusted
from tuner.verification.papers import Values


@pytest.mark.parametrize(
    ("one_ms", "samples"),
    [(1.0, 10), (200.0, 10), (250.0, 8), (1000.0, 3), (60_000.0, 3)],
)
def test_a_slow_forward_is_sampled_for_a_time_and_thrice_at_least(one_ms: float, samples: int) -> None:
    assert count(10, 2.0, one_ms) == samples


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court("gn_mean", tmp_path_factory.mktemp("court"))


@pytest.fixture
def right(court: Court) -> Examination:
    return court.examination(CONTROL)


def test_a_right_candidate_is_sampled(right: Examination) -> None:
    assert len(right.samples(3, Values.MARKED)) == 3


def test_a_time_below_what_is_proof_is_refused(right: Examination) -> None:
    right.require_believable(1.0, 0.9)
    with pytest.raises(Untrusted, match=r"measured 1\.0000 ms, below the physical floor of 1\.1000 ms"):
        right.require_believable(1.0, 1.1)


@pytest.mark.parametrize(
    "body",
    [
        "COUNTS['calls'] += 1\ny = self.own(x)\nreturn y if COUNTS['calls'] <= 1 else y + 1",
        "COUNTS.setdefault('kept', self.own(x))\nreturn COUNTS['kept']",
    ],
    ids=["wrong after the first", "the first result for ever"],
)
def test_an_answer_that_is_wrong_when_timed_is_refused(court: Court, body: str) -> None:
    with pytest.raises(Failed, match="right when it was verified, wrong when it was timed"):
        court.examination(f"COUNTS = self.__dict__.setdefault('counts', {{'calls': 0}})\n{body}").samples(
            3, Values.MARKED
        )


def test_a_candidate_is_timed_as_it_is_built_for_the_workload_whatever_was_asked_last(right: Examination) -> None:
    """The last papers are of other sizes, for which it is built anew."""
    right.examine(complete=True)
    assert len(right.samples(3, Values.MARKED)) == 3


@pytest.mark.parametrize(("uneven", "is_steady"), [((5.0, 1.2, 9.0), True), ((1.6, 5.0, 1.7), False)])
def test_what_else_the_machine_does_is_not_held_against_a_candidate(
    right: Examination, monkeypatch: pytest.MonkeyPatch, uneven: tuple[float, ...], is_steady: bool
) -> None:
    others = itertools.cycle(uneven)

    def samples(forwards: int, values: Values, uneven: bool = False) -> list[float]:
        return [next(others) if uneven else 1.0]

    monkeypatch.setattr(right, "samples", samples)
    with contextlib.nullcontext() if is_steady else pytest.raises(Untrusted, match="values of other scales"):
        right.require_steady()
