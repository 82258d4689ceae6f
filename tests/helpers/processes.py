"""Other processes, as the tests of what outlives what see them."""

from __future__ import annotations

import contextlib
import time
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


def written(path: Path) -> str:
    """What another process wrote into a file, as soon as there is a line; the test's timeout ends a vain wait."""
    while not path.exists() or not path.read_text().endswith("\n"):
        time.sleep(0.02)
    return path.read_text()
