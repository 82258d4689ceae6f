"""The conditions of a measurement: who else uses the device, its clocks, its power, its throttling.

On a GPU `nvidia-smi` tells, where it is; it comes with the driver. A `Watch` reads
the idle device before the search, and once a second what it does during the final.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tuner.backends import device

QUERY = "clocks.sm,clocks.mem,power.draw,temperature.gpu,utilization.gpu,clocks_throttle_reasons.active"
EVERY_MS = 1000
# Bits of nvmlClocksThrottleReasons that mean less speed than asked for; an idle GPU is none.
THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
}
BUSY_SHARE = 0.1  # of the device, by others, before the search
CPU_SAMPLE_S = 0.25


@dataclass(frozen=True)
class Reading:
    """One moment of a GPU; NaN for what the driver does not tell."""

    sm_mhz: float
    memory_mhz: float
    power_w: float
    temperature_c: float
    utilisation: float  # share of the time in which a kernel ran, 0 to 1
    throttling: tuple[str, ...]


def parse(line: str) -> Reading | None:
    """A line of nvidia-smi's answer to QUERY; None for any other."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 6 or not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", fields[5]):
        return None
    sm, memory, power, temperature, used = (
        float(f) if re.fullmatch(r"\d+(\.\d+)?", f) else math.nan for f in fields[:5]
    )
    reasons = int(fields[5], 16)
    return Reading(
        sm, memory, power, temperature, used / 100, tuple(name for bit, name in THROTTLING.items() if reasons & bit)
    )


class Watch:
    """Looks at an idle device when it is made, and at a working one while it is entered."""

    def __init__(self, torch_device: str) -> None:
        self.torch_device = torch_device
        self.readings: list[Reading] = []
        self.process: subprocess.Popen[str] | None = None
        self.load = ""
        if torch_device.startswith("cuda"):
            idle = [r for r in map(parse, _output(_command(torch_device))) if r is not None]
            self.busy = idle[0].utilisation if idle else math.nan
        else:
            self.busy = _cpu_busy()
            with contextlib.suppress(OSError):
                self.load = " ".join(f"{load:.2f}" for load in os.getloadavg())

    def __enter__(self) -> Watch:
        command = _command(self.torch_device)
        if self.torch_device.startswith("cuda") and command:
            with contextlib.suppress(OSError):
                self.process = subprocess.Popen(
                    [*command, f"--loop-ms={EVERY_MS}"],
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace",
                )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.process.terminate()
            text, _ = self.process.communicate()
            self.readings += [r for r in map(parse, text.splitlines()) if r is not None]
            self.process = None

    def conditions(self) -> dict[str, str]:
        """For the record: medians over the working time, and every reason for throttling with its share of it."""
        found = {}
        if math.isfinite(self.busy):
            found["busy before the search"] = f"{self.busy:.0%}"
        if self.load:
            found["load average before the search"] = self.load
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
        notes = []
        if self.busy > BUSY_SHARE:
            notes.append(
                f"{self.torch_device} was {self.busy:.0%} busy with something else before the search; times may suffer"
            )
        for reason, share in self._throttled().items():
            notes.append(f"{self.torch_device} was throttled in {share:.0%} of the final: {reason}")
        return notes

    def _throttled(self) -> dict[str, float]:
        counts = {reason: sum(reason in r.throttling for r in self.readings) for reason in THROTTLING.values()}
        return {reason: count / len(self.readings) for reason, count in counts.items() if count}


def _command(torch_device: str) -> list[str]:
    """nvidia-smi asking about this device; empty where there is none."""
    smi = shutil.which("nvidia-smi")
    name = device.bus_id(torch_device).removeprefix("cuda:")
    return [smi, f"--id={name}", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"] if smi else []


def _output(command: list[str]) -> list[str]:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if command:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20)
            return done.stdout.splitlines()
    return []


def _cpu_busy() -> float:
    """Share of all cores' time that was used in the last moment; NaN where /proc does not tell."""
    try:
        before = _cpu_ticks()
        time.sleep(CPU_SAMPLE_S)
        used, total = (b - a for a, b in zip(before, _cpu_ticks(), strict=True))
    except (OSError, ValueError, IndexError):
        return math.nan
    return used / total if total else math.nan


def _cpu_ticks() -> tuple[int, int]:
    """(used, all) ticks since boot: user nice system idle iowait irq softirq steal, see proc(5)."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
