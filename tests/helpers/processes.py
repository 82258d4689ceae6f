"""Other processes, as the tests of what outlives what see them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def gone_within(seconds: float, *pids: int) -> bool:
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, pids))


def wait_until(true: Callable[[], bool], lives: Callable[[], bool]) -> None:
    """Wait for what another process does, while it lives. AssertionError when it ended without having done it."""
    while not true():
        assert lives() or true(), "the process that was waited for has ended"
        time.sleep(0.02)


def written(path: Path, lives: Callable[[], bool]) -> str:
    """What another process writes into a file, as soon as there is a line; AssertionError when it ended without."""
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), lives)
    return path.read_text()
