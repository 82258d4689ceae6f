"""The time that a process takes, told by the system: it cannot be reached from inside."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil


class OutsideClock:
    """Seconds from its making on that process `pid` had for its work.

    What its first thread spent ready to run while others had the cores is no time of its own, as long as
    these others are not its own threads: never less than all its threads' time divided by the `cores` it may use.
    """

    def __init__(self, pid: int, cores: int) -> None:
        self.pid, self.cores = pid, cores
        self.began = time.perf_counter(), self._waited_s(), self._used_s()

    def seconds(self) -> float:
        began, waited, used = self.began
        wall = time.perf_counter() - began
        return max(wall - (self._waited_s() - waited), (self._used_s() - used) / self.cores)

    def _waited_s(self) -> float:
        """How long its first thread was kept waiting for a core; 0 where the system does not tell."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        return 0.0

    def _used_s(self) -> float:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0
