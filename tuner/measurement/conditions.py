"""The conditions of a measurement: who else uses the device, its clocks, its power, its throttling.

A `Watch` reads the idle device before the search, and once a second what it does during the final.
"""

from __future__ import annotations

import math
import statistics
import threading
from types import TracebackType

from tuner.backends import Backend, Reading

EVERY_S = 1.0
BUSY_SHARE = 0.1  # of the device, by others, before the search


class Watch:
    """Looks at an idle device when it is made, and every `every_s` seconds at a working one while it is entered."""

    def __init__(self, backend: Backend, every_s: float = EVERY_S) -> None:
        self.backend, self.every_s = backend, every_s
        self.readings: list[Reading] = []
        self.busy, self.load = backend.busy(), backend.load()
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        self._left.clear()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while (reading := self.backend.reading()) is not None:
            self.readings.append(reading)
            if self._left.wait(self.every_s):
                return

    def conditions(self) -> dict[str, str]:
        """For the record: medians over the working time, and every reason for throttling with its share of it."""
        found = {}
        if math.isfinite(self.busy):
            found["busy before the search"] = f"{self.busy:.0%}"
        found |= {f"{name} before the search": value for name, value in self.load.items()}
        for name, unit in (("sm_mhz", "MHz"), ("memory_mhz", "MHz"), ("power_w", "W"), ("temperature_c", "C")):
            values = [v for v in (getattr(reading, name) for reading in self.readings) if math.isfinite(v)]
            if values:
                found[name.rpartition("_")[0]] = f"{statistics.median(values):g} {unit}"
        if self.readings:
            shares = [f"{reason} {share:.0%}" for reason, share in self._throttled().items()]
            found["throttling"] = ", ".join(shares) or "none"
        return found

    def notes(self) -> list[str]:
        """What a reader of the times should know, a line each."""
        device, notes = self.backend.device, []
        if self.busy > BUSY_SHARE:
            notes.append(f"{device} was {self.busy:.0%} busy with something else before the search; times may suffer")
        for reason, share in self._throttled().items():
            notes.append(f"{device} was throttled in {share:.0%} of the final: {reason}")
        return notes

    def _throttled(self) -> dict[str, float]:
        """Share of the readings for each reason, in the order in which reasons first came."""
        reasons = dict.fromkeys(reason for reading in self.readings for reason in reading.throttling)
        return {reason: sum(reason in r.throttling for r in self.readings) / len(self.readings) for reason in reasons}
