"""Ways past the judge that were looked for after it was built: none gets past, and none harms the next candidate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from helpers.arena import Arena
from helpers.new_attacks import ANSWERS, BENCH, HARM, TELLS

from tuner.records import Status

pytestmark = pytest.mark.usefixtures("needs_compiler")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"), run_timeout_s=6.0)
    yield made
    made.close()


SLOW = {"a ring of 64 buffers", "the first timed forward computes all that will be asked", "stops itself"}
REFUSED = BENCH | TELLS | ANSWERS


def marked(names: Iterable[str]) -> list[object]:
    """Parameters of a test, those that take long marked."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


@pytest.mark.parametrize("name", marked(REFUSED))
def test_is_refused(arena: Arena, name: str) -> None:
    attack = REFUSED[name]
    fault = arena.verify(attack.forward, attack.top)
    assert fault != ""
    assert attack.said in fault


@pytest.mark.parametrize("name", marked(HARM))
def test_the_next_candidate_is_not_harmed(arena: Arena, name: str) -> None:
    assert arena.trial(top=HARM[name]).status is not None
    evaluation = arena.trial()
    assert (evaluation.status, evaluation.detail) == (Status.OK, "")


def test_a_clock_that_stands_still_costs_its_own_trial_alone(arena: Arena) -> None:
    attack = BENCH["a clock that stands still"]
    evaluation = arena.trial(attack.forward, attack.top)
    assert (evaluation.status, evaluation.detail) == (Status.BENCHMARK, "0 ms is no time that a forward takes")
