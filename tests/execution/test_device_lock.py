"""One process at a time on a device, and a word for whoever waits."""

from __future__ import annotations

import threading
import time

import filelock
import pytest
from helpers.processes import wait_until

from tuner.backends.cuda import Cuda
from tuner.execution import device_lock
from tuner.execution.device_lock import DeviceLock


def is_free(torch_device: str) -> bool:
    try:
        with filelock.FileLock(DeviceLock(torch_device).path, timeout=0, is_singleton=False):
            return True
    except filelock.Timeout:
        return False


def test_two_names_of_one_gpu_share_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cuda, "physical_id", lambda self: "0000:0e:00.0")
    assert DeviceLock("cuda:0").path == DeviceLock("cuda:1").path


def test_one_lock_a_device() -> None:
    assert DeviceLock("cuda:0").path != DeviceLock("cuda:1").path
    with DeviceLock("cuda:7"):
        assert not is_free("cuda:7") and is_free("cuda:8")
    assert is_free("cuda:7")


@pytest.mark.timeout(30)
def test_who_waits_is_told_for_whom_and_the_time_is_counted() -> None:
    said: list[str] = []
    first, second = DeviceLock("cuda:7"), DeviceLock("cuda:7", said.append)
    with first:
        waiting = threading.Thread(target=lambda: second.__enter__())
        waiting.start()
        wait_until(lambda: bool(said), waiting.is_alive)
        time.sleep(0.2)
    waiting.join()
    second.__exit__()
    assert said[0].startswith("waiting for process ") and said[0].endswith("(another search on cuda:7)")
    assert second.waited_s >= 0.2 and first.waited_s == 0.0


@pytest.mark.timeout(30)
def test_a_short_wait_is_counted_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_lock, "UNSAID_S", 1000.0)
    said: list[str] = []
    first, second = DeviceLock("cuda:7"), DeviceLock("cuda:7", said.append)
    with first:
        waiting = threading.Thread(target=lambda: second.__enter__())
        waiting.start()
        time.sleep(0.2)
    waiting.join()
    second.__exit__()
    assert said == [] and second.waited_s > 0


@pytest.mark.timeout(30)
def test_who_lets_go_and_wants_it_again_queues_behind_who_waits() -> None:
    turns: list[str] = []
    holder, other = DeviceLock("cuda:7"), DeviceLock("cuda:7", turns.append)

    def wait() -> None:
        with other:
            turns.append("other")

    with holder:
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: bool(turns), waiting.is_alive)
    with holder:
        turns.append("holder")
    waiting.join()
    assert turns[-2:] == ["other", "holder"]


def test_who_holds_it_may_take_it_again() -> None:
    lock = DeviceLock("cuda:7")
    with lock:
        with lock:
            pass
        assert not is_free("cuda:7")
    assert is_free("cuda:7")


def test_a_search_holds_another_lock_than_a_measurement() -> None:
    with DeviceLock("cuda:7", whole_search=True), DeviceLock("cuda:7"):
        assert not is_free("cuda:7")
