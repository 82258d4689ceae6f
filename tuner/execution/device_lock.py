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

SAY_EVERY_S = 10.0


class DeviceLock:
    """Held while something is timed on the device, by whatever process of this machine.

    Who has to wait is told at once and as it goes on, through `say`, for whom. `waited_s` adds up
    how long: it is nobody's search time.
    """

    def __init__(self, torch_device: str, say: Callable[[str], None] = lambda text: None) -> None:
        name = backends.of(torch_device).physical_id().replace(":", "-").replace("/", "-")
        self.path = Path(tempfile.gettempdir()) / f"tuner-device-{name}.lock"
        self.torch_device, self.say, self.waited_s = torch_device, say, 0.0
        self.lock = filelock.FileLock(self.path, mode=0o666)

    @property
    def _owner(self) -> Path:
        return self.path.with_suffix(".owner")

    def __enter__(self) -> DeviceLock:
        began = time.monotonic()
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout:
            while True:
                self.say(f"waiting for {self._holder()} (another search on {self.torch_device})")
                with contextlib.suppress(filelock.Timeout):
                    self.lock.acquire(timeout=SAY_EVERY_S)
                    break
            self.waited_s += time.monotonic() - began
        with contextlib.suppress(OSError):  # another user's file
            self._owner.write_text(f"process {os.getpid()}\n")
        return self

    def __exit__(self, *exception: object) -> None:
        self.lock.release()

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self._owner.read_text().strip()[:60] or "another process"
        return "another process"
