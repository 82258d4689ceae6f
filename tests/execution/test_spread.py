"""Trials spread over devices: shared, moved from a device that fails, and never told twice."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from helpers.processes import wait_until

from tuner.errors import DeviceFailed
from tuner.execution.pipeline import Pipeline, UnderWay
from tuner.execution.spread import FAILURES, Spread
from tuner.records import Evaluation, Performance, Status
from tuner.template.render import Candidate
from tuner.workers import interruption

SLOW_S = 0.02


@dataclass
class FakePipeline:
    """Stands for a device that takes `seconds` for a trial, and fails where `fails` says so."""

    device: str
    seconds: float = SLOW_S
    fails: set[int] = field(default_factory=set)  # numbers of trials; -1: every one
    times: float = 1.0  # as long as others for a point

    capacity = 1
    waited_s = 0.0

    def __post_init__(self) -> None:
        self.job = SimpleNamespace(torch_device=self.device)
        self.under_way: dict[int, UnderWay] = {}
        self.best_ms: float | None = None
        self.last, self.measured = 0, list[int]()

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...]) -> UnderWay:
        begun = UnderWay(candidate, leaves, Future())
        self.take_over(number, begun)
        return begun

    def take_over(self, number: int, candidate: UnderWay) -> None:
        self.under_way[number] = candidate

    def give_up(self) -> dict[int, UnderWay]:
        given_up, self.under_way = self.under_way, {}
        return given_up

    def next(self) -> tuple[int, str, Evaluation]:
        self.last = number = min(self.under_way)
        candidate = self.under_way[number].candidate
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(0.001)
            interruption.check()
        self.under_way.pop(number, None)
        if number in self.fails or -1 in self.fails:
            raise DeviceFailed(f"{self.device}: fell off the bus")
        self.measured.append(number)
        ms = self.times * (1 + int(candidate.text) / 1000)
        performance = Performance(latency_ms=ms, q25_ms=ms * 0.999, q75_ms=ms * 1.001, samples=10)
        evaluation = Evaluation.model_construct(status=Status.OK, detail="", performance=performance)
        return number, candidate.sha256, evaluation

    def close(self) -> None:
        self.under_way.clear()


class Rig:
    """A spread over a device "a" and others that join, and what it says."""

    def __init__(self, home: FakePipeline, *others: FakePipeline) -> None:
        self.said: list[str] = []
        self.failed: Counter[str] = Counter()
        self.spread = Spread(cast(Pipeline, home), self._failed, self.said.append)
        self.threads = [threading.Thread(target=self._join, args=[other]) for other in others]
        for thread in self.threads:
            thread.start()
        wait_until(lambda: sum(not member.left for member in self.spread.members) == 1 + len(others), lambda: True)

    def _failed(self, device: str) -> int:
        self.failed[device] += 1
        return self.failed[device]

    def _join(self, other: FakePipeline) -> None:
        member = self.spread.invited(cast(Pipeline, other))
        with member.interruption.heeded():
            self.spread.join(member)

    def run(self, trials: int) -> dict[int, Evaluation]:
        """So many trials, as a search would have them measured."""
        found: dict[int, Evaluation] = {}
        number = 0
        while len(found) < trials:
            while number < trials and number - len(found) < self.spread.capacity:
                self.spread.submit(number, Candidate(str(number)))
                number += 1
            done, sha256, evaluation = self.spread.next()
            assert done not in found, "told twice"
            assert sha256 == Candidate(str(done)).sha256
            found[done] = evaluation
        return found


@contextlib.contextmanager
def rig(*devices: FakePipeline) -> Iterator[Rig]:
    made = Rig(*devices)
    try:
        yield made
    finally:
        made.spread.close()
        for thread in made.threads:
            thread.join(5)
            assert not thread.is_alive()


def statuses(found: dict[int, Evaluation]) -> Counter[Status]:
    return Counter(evaluation.status for evaluation in found.values())


def test_every_device_measures_its_share() -> None:
    home, other = FakePipeline("a"), FakePipeline("b")
    with rig(home, other) as made:
        found = made.run(20)
    assert statuses(found) == {Status.OK: 20}
    trials = [number for number in [*home.measured, *other.measured] if number >= 0]
    assert sorted(trials) == list(range(20))
    assert all(sum(n >= 0 for n in device.measured) >= 5 for device in (home, other))


def test_a_slow_device_measures_less_and_holds_nobody_up() -> None:
    home, other = FakePipeline("a"), FakePipeline("b", seconds=10 * SLOW_S)
    with rig(home, other) as made:
        assert statuses(made.run(20)) == {Status.OK: 20}
    assert len(other.measured) < len(home.measured)


def test_a_device_that_fails_again_and_again_is_left_out_and_nothing_is_lost() -> None:
    home, other = FakePipeline("a"), FakePipeline("b", fails={-1})
    with rig(home, other) as made:
        assert statuses(made.run(12)) == {Status.OK: 12}
        assert made.failed == {"b": FAILURES}
        assert any("b failed 3 times and is left out" in text for text in made.said)
    assert sorted(number for number in home.measured) == list(range(12)) and other.measured == []


def test_a_trial_at_which_every_device_fails_is_a_crash_of_its_own() -> None:
    home, other = FakePipeline("a", fails={2}), FakePipeline("b", fails={2})
    with rig(home, other) as made:
        found = made.run(8)
        assert max(made.failed.values()) < FAILURES
    assert statuses(found) == {Status.OK: 7, Status.CRASH: 1}
    assert "devices failed at it 3 times" in found[2].detail


def test_the_search_cannot_go_on_without_its_own_device() -> None:
    with rig(FakePipeline("a", fails={-1}), FakePipeline("b")) as made, pytest.raises(DeviceFailed, match="left out"):
        made.run(20)


def test_a_bug_is_the_searchs() -> None:
    home = FakePipeline("a")
    home.next = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with rig(home) as made, pytest.raises(ZeroDivisionError):
        made.run(1)


@pytest.mark.parametrize(("times", "said"), [(1.5, ["b takes 1.50 times as long as a for the same points"]), (1.0, [])])
def test_a_device_of_another_speed_is_said_once(times: float, said: list[str]) -> None:
    with rig(FakePipeline("a"), FakePipeline("b", times=times)) as made:
        made.run(20)
    assert made.said == said


def test_every_device_knows_the_best_of_all() -> None:
    home, other = FakePipeline("a"), FakePipeline("b")
    with rig(home, other) as made:
        made.run(10)
    assert home.best_ms == other.best_ms == 1.0


def test_closing_interrupts_what_is_measured() -> None:
    home, other = FakePipeline("a", seconds=600.0), FakePipeline("b", seconds=600.0)
    with rig(home, other) as made:
        made.spread.submit(0, Candidate("0"))
        made.spread.submit(1, Candidate("1"))
        wait_until(lambda: bool(home.under_way and other.under_way), lambda: True)
