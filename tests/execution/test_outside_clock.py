"""The clock outside: sleep and work count, waiting for a core that others have does not."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from tuner.execution.outside_clock import OutsideClock

CORES = len(os.sched_getaffinity(0))


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_sleep_counts() -> None:
    clock = OutsideClock(os.getpid(), CORES)
    time.sleep(0.05)
    assert clock.seconds() > 0.045


def test_work_counts() -> None:
    clock = OutsideClock(os.getpid(), CORES)
    spin(0.1)
    assert clock.seconds() > 0.09


@pytest.mark.slow
def test_cores_that_others_have_count_little() -> None:
    others = [multiprocessing.get_context("fork").Process(target=spin, args=(2.0,)) for _ in range(8)]
    one = {min(os.sched_getaffinity(0))}
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one)
    try:
        for other in others:
            other.start()
        clock, began = OutsideClock(os.getpid(), 1), time.perf_counter()
        spin(0.2)
        wall, told = time.perf_counter() - began, clock.seconds()
    finally:
        os.sched_setaffinity(0, before)
        for other in others:
            other.kill()
            other.join()
    if wall < 0.6:
        pytest.skip("the others did not get in the way")
    assert told < wall / 2
