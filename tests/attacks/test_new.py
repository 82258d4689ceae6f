"""Ways past the judge that were looked for after it was built: none gets past, and none harms the next candidate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.arena import Arena
from helpers.attacks import Attack
from helpers.new_attacks import ANSWERS, BENCH, HARM, TELLS

from tuner.records import Status

pytestmark = pytest.mark.usefixtures("needs_compiler")


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    made = Arena(tmp_path_factory.mktemp("arena"), run_timeout_s=6.0)
    yield made
    made.close()


@pytest.mark.parametrize("attack", (BENCH | TELLS | ANSWERS).values(), ids=(BENCH | TELLS | ANSWERS))
def test_is_refused(arena: Arena, attack: Attack) -> None:
    fault = arena.verify(attack.forward, attack.top)
    assert fault != ""
    assert attack.said in fault


@pytest.mark.parametrize("name", HARM)
def test_the_next_candidate_is_not_harmed(arena: Arena, name: str) -> None:
    assert arena.trial(top=HARM[name]).status is not None
    evaluation = arena.trial()
    assert (evaluation.status, evaluation.detail) == (Status.OK, "")
