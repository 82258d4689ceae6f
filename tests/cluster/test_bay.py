"""The device of a worker: open for one subject at a time, whose processes go when nobody uses them."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from helpers.processes import wait_until
from helpers.tiny import HERE

pytest.importorskip("distributed")

from helpers.crew import subject

from tuner.cluster import bay
from tuner.cluster.bay import Bay, Opened, Subject
from tuner.errors import ProblemError


class Watched(Bay):
    """Opens nothing, and remembers what was open."""

    def __init__(self) -> None:
        super().__init__("cpu", HERE, lambda topic, what, values: None)
        self.log: list[str] = []

    def _open(self, asked: Subject) -> Opened:
        self.log.append(f"open {asked.topic}")
        self.stack.callback(self.log.append, f"close {asked.topic}")
        return cast(Opened, SimpleNamespace(here=SimpleNamespace(folder=Path("/tmp/of-a-worker"))))


A, B = subject(Path("a")), subject(Path("b"))


def test_a_subject_stays_open_for_the_next_trial_and_goes_for_another_subject() -> None:
    made = Watched()
    for asked in (A, A, B):
        with made.at(asked):
            pass
    assert made.log == ["open topic-a", "close topic-a", "open topic-b"]


def test_another_subject_waits_until_nobody_uses_the_first() -> None:
    made, entered = Watched(), threading.Event()

    def other() -> None:
        with made.at(B):
            entered.set()

    thread = threading.Thread(target=other)
    with made.at(A), made.at(A):
        thread.start()
        assert not entered.wait(0.1) and made.log == ["open topic-a"]
    assert entered.wait(5)
    thread.join()


def test_what_a_search_has_left_open_goes_at_its_end_alone() -> None:
    made = Watched()
    with made.at(A):
        made.let_go(A.topic)  # it is in use
    made.let_go(B.topic)
    assert made.log == ["open topic-a"]
    made.let_go(A.topic)
    assert made.log == ["open topic-a", "close topic-a"]


def test_what_nobody_uses_for_long_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bay, "IDLE_S", 0.05)
    made = Watched()
    with made.at(A):
        pass
    wait_until(lambda: len(made.log) == 2, lambda: True)


def test_a_fault_names_the_problem_without_the_worker_s_folder() -> None:
    with pytest.raises(ProblemError, match=r"^problem\.py: defines no Model$"), Watched().at(A):
        raise ProblemError("/tmp/of-a-worker/problem.py: defines no Model")
