"""Attacks that got past earlier versions: each is refused, or harms its own trial alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.arena import Arena
from helpers.attacks import LEAVES_BEHIND, MISTIMED, REFUSED, Attack

from tuner.records import Status

pytestmark = pytest.mark.usefixtures("needs_compiler")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"))
    yield made
    made.close()


def test_the_honest_one_is_right(arena: Arena) -> None:
    assert arena.verify() == ""


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(arena: Arena, name: str) -> None:
    attack = REFUSED[name]
    fault = arena.verify(attack.forward, attack.top)
    assert fault != ""
    assert attack.said in fault


def test_memory_that_is_filled_when_it_is_touched_is_timed_as_it_is(arena: Arena) -> None:
    lazy, honest = (arena.trial(attack.forward).latency_ms for attack in MISTIMED.values())
    assert lazy > honest / 2


@pytest.mark.parametrize("name", LEAVES_BEHIND)
def test_the_next_candidate_is_not_harmed(arena: Arena, name: str) -> None:
    arena.trial(top=LEAVES_BEHIND[name])
    evaluation = arena.trial()
    assert (evaluation.status, evaluation.detail) == (Status.OK, "")
    assert evaluation.latency_ms < 1.0


def test_an_exception_that_cannot_be_printed_fails_its_trial_alone(arena: Arena) -> None:
    attack: Attack = REFUSED["raises what cannot be printed"]
    assert arena.trial(attack.forward).status is Status.LAUNCH
    assert arena.trial().status is Status.OK


def test_a_candidate_that_skips_work_when_timed_wins_no_trial(arena: Arena) -> None:
    attack = REFUSED["skips the work on values that were never verified"]
    evaluation = arena.trial(attack.forward)
    assert (evaluation.status, "wrong when it was timed" in evaluation.detail) == (Status.BENCHMARK, True)
