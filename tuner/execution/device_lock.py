"""One process at a time on a device: two searches never time at the same moment."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from tuner import backends
from tuner.workers import interruption

UNSAID_S = 1.0  # a turn that comes sooner is no news: of two searches each has one at every trial
SAY_EVERY_S = 10.0
LOOK_EVERY_S = 0.5  # whether nobody wants it any more
POLL_S = 0.005  # whether it is free


class DeviceLock:
    """Held while something is timed on the device, by whatever process of this machine.

    Who has to wait is told at once and as it goes on, through `say`, for whom. `waited_s` adds up
    how long: it is nobody's search time. Of a CPU each core has a lock: lanes of disjoint cores do not
    wait for each other, and whoever wants all cores waits for all lanes.

    A second lock is held while one waits for the first: who has just let go and wants it again queues behind.
    """

    def __init__(
        self, torch_device: str, say: Callable[[str], None] = lambda text: None, whole_search: bool = False
    ) -> None:
        """With `whole_search` the lock is another one, which a search holds from its first measurement to its last."""
        kind = "tuner-search" if whole_search else "tuner-device"
        names = [part.replace(":", "-").replace("/", "-") for part in backends.of(torch_device).parts()]
        self.torch_device, self.say, self.waited_s = torch_device, say, 0.0
        self.locks = [filelock.FileLock(_folder() / f"{kind}-{name}.lock", mode=0o666) for name in names]

    @property
    def path(self) -> Path:
        """The first lock's file."""
        return Path(self.locks[0].lock_file)

    def __enter__(self) -> DeviceLock:
        held = 0
        try:
            # in the same order everywhere, so that no two wait for each other
            for lock in self.locks:
                self._acquire(lock)
                held += 1
        except BaseException:
            self._release(held)
            raise
        return self

    def _acquire(self, lock: filelock.BaseFileLock) -> None:
        if lock.is_locked:  # held already: nobody else's turn is meant
            lock.acquire()
            return
        turn = filelock.FileLock(Path(lock.lock_file).with_suffix(".turn"), mode=0o666)
        began, waits = time.monotonic(), False
        try:
            for each in (turn, lock):
                try:
                    each.acquire(timeout=0)
                except filelock.Timeout:
                    self._wait_for(each, lock)
                    waits = True
        finally:
            if turn.is_locked:
                turn.release()
        if waits:
            self.waited_s += time.monotonic() - began
        with contextlib.suppress(OSError):  # another user's file
            _owner(lock).write_text(f"process {os.getpid()}\n")

    def _wait_for(self, wanted: filelock.BaseFileLock, lock: filelock.BaseFileLock) -> None:
        say_at = time.monotonic() + UNSAID_S
        while True:
            if time.monotonic() >= say_at:
                self.say(f"waiting for {_holder(lock)} (another search on {self.torch_device})")
                say_at = time.monotonic() + SAY_EVERY_S
            with contextlib.suppress(filelock.Timeout):
                wanted.acquire(timeout=LOOK_EVERY_S, poll_interval=POLL_S)
                return
            interruption.check()

    def __exit__(self, *exception: object) -> None:
        self._release(len(self.locks))

    def _release(self, held: int) -> None:
        for lock in reversed(self.locks[:held]):
            lock.release()


def _folder() -> Path:
    return Path(tempfile.gettempdir())


def _owner(lock: filelock.BaseFileLock) -> Path:
    return Path(lock.lock_file).with_suffix(".owner")


def _holder(lock: filelock.BaseFileLock) -> str:
    with contextlib.suppress(OSError):
        return _owner(lock).read_text().strip()[:60] or "another process"
    return "another process"
