"""What a thread waits for in a worker ends when its interruption is set, and for nobody else."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import pytest
from helpers.processes import gone_within, wait_until

from tuner.workers import interruption
from tuner.workers.interruption import Interruption
from tuner.workers.protocol import Opening, Report, Request
from tuner.workers.worker import Worker


class Sleeper:
    pass


@dataclass(frozen=True)
class OpenSleeper(Opening[Sleeper]):
    def open(self, report: Report) -> Sleeper:
        return Sleeper()


@dataclass(frozen=True)
class Sleep(Request[Sleeper, None]):
    seconds: float

    def run(self, service: Sleeper) -> None:
        time.sleep(self.seconds)


def test_a_thread_that_waits_for_a_worker_is_interrupted_and_its_process_ends() -> None:
    interrupted, ended = Interruption(), list[str]()
    with Worker(OpenSleeper()) as worker:
        worker.call(Sleep(0.0), 60.0)
        pid = worker.pid
        assert pid is not None

        def wait() -> None:
            with interrupted.heeded():
                try:
                    worker.call(Sleep(600.0), 600.0)
                except KeyboardInterrupt:
                    ended.append("interrupted")

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.1)
        interrupted.set()
        wait_until(lambda: bool(ended), thread.is_alive)
        thread.join()
        assert gone_within(10, pid)


def test_who_heeds_another_one_is_not_interrupted() -> None:
    one, other = Interruption(), Interruption()
    with other.heeded():
        one.set()
        interruption.check()
        other.set()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    interruption.check()
    assert interruption.heeding() is None
