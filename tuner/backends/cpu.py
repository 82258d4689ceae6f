"""The CPU: C++ kernels, the wall clock."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tuner.backends import toolchain
from tuner.backends.base import Backend, Clock, Reading, Timing, common_environment, plain
from tuner.records import Environment

if TYPE_CHECKING:
    import torch

BUSY_SAMPLE_S = 0.25
PAGE_BYTES = 4096
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MMAP_THRESHOLD_MAX = 2**25  # glibc takes no larger one
KEPT_BYTES = 16 * MMAP_THRESHOLD_MAX  # free ones at the end of the heap; more than the answers that a run holds


class Cpu(Backend):
    """All the cores that a process may run on ("cpu"), or some of them ("cpu:0-3": 0 to 3, a lane of their own)."""

    kind = "cpu"
    name = "CPU"
    numbered = False
    part = re.compile("([0-9]{1,4})-([0-9]{1,4})")
    cores_name = "cores"
    toolkit_name = "compiler"
    has_driver = False
    compiles_beside_measuring = False
    one_search = False
    fresh_benches = True
    small_cases = True
    proof_share = 0.5  # its ceilings are measured beside other processes and may come out low
    steady_ceilings = False
    cache_bytes = 2**28  # no socket has a larger last-level cache
    sanitizers = ()

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.torch_device = "cpu"
        match = self.part.fullmatch(device.partition(":")[2])
        self.lane = frozenset(range(int(match[1]), int(match[2]) + 1)) if match else None  # None: all cores

    @property
    def host_cores(self) -> int:
        return len(self.cores)

    @property
    def cores(self) -> frozenset[int]:
        """The numbers of its cores."""
        return allowed() if self.lane is None else self.lane

    def missing(self) -> str | None:
        return None

    def absent(self) -> str:
        if self.lane is None or (self.lane and self.lane <= allowed()):
            return ""
        numbers = sorted(allowed())
        return f"the cores {numbers[0]} to {numbers[-1]}" + (", not all of them" if _gaps(numbers) else "")

    def count(self) -> int:
        return 1

    def physical_id(self) -> str:
        return self.device

    def parts(self) -> tuple[str, ...]:
        return tuple(f"cpu-{core}" for core in sorted(self.cores))

    def environment(self) -> Environment:
        return Environment(
            device_kind="cpu",
            device_name=plain(model_name()),
            capability=(0, 0),
            cores=len(self.cores),
            memory_bytes=self.memory_bytes(),
            driver=toolchain.NONE,
            toolkit=toolchain.compiler_version(),
            **common_environment(),
        )

    def limits(self, environment: Environment) -> dict[str, Any]:
        return {
            "device": "cpu",
            "cores": environment.cores,
            "capability": environment.capability,
            "shared_memory_per_block": 0,
        }

    def target(self, environment: Environment) -> None:
        return None

    def memory_bytes(self) -> int:
        return total_bytes()

    def free_bytes(self) -> int:
        return int(psutil.virtual_memory().available)

    def compile_processes(self) -> int:
        return 1

    def busy(self) -> float:
        """Share of its cores' time that was used in the last BUSY_SAMPLE_S seconds."""
        try:
            if self.lane is None:
                return psutil.cpu_percent(BUSY_SAMPLE_S) / 100
            shares = psutil.cpu_percent(BUSY_SAMPLE_S, percpu=True)
            return statistics.mean(shares[core] for core in self.lane if core < len(shares)) / 100
        except (OSError, psutil.Error, statistics.StatisticsError):  # no /proc
            return math.nan

    def reading(self) -> Reading | None:
        return None

    def load(self) -> dict[str, str]:
        with contextlib.suppress(OSError):
            return {"load average": " ".join(f"{load:.2f}" for load in os.getloadavg())}
        return {}

    def ceilings(self) -> dict[str, float]:
        from tuner.backends import ceilings_cpu

        return ceilings_cpu.measure(len(self.cores))

    def select(self) -> None:
        self.keep_to_cores()
        _keep_freed_memory()
        if self.lane is not None:
            import torch

            torch.set_num_threads(len(self.lane))

    def keep_to_cores(self) -> None:
        for thread in _threads() if self.lane is not None else ():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, self.lane or ())

    def has_strayed(self) -> bool:
        if self.lane is None:
            return False
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):
                if not os.sched_getaffinity(thread) <= self.lane:
                    return True
        return False

    def synchronize(self) -> None:
        pass

    def delay(self) -> None:
        pass

    def release_memory(self) -> None:
        pass

    def is_healthy(self) -> bool:
        return True

    def share_memory(self, x: torch.Tensor) -> str:
        return ""  # files are memory

    def lendable(self, size: int) -> torch.Tensor | None:
        return None

    def copy_of_shared(self, shared: str, size: int) -> torch.Tensor:
        raise RuntimeError("a CPU shares no memory but files")

    def clock(self) -> Clock:
        return WallClock()


class WallClock(Clock):
    """Seconds by `now`, which is bound when this module is imported: before any candidate could replace it."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now

    def time(self, call: Callable[[], torch.Tensor]) -> Timing:
        start = self.now()
        result = call()
        _touch(result)
        return Timing((self.now() - start) * 1e3, 0.0, result)


def _keep_freed_memory() -> None:
    """Have malloc keep what is freed, as it comes to do in a program that has run for a while.

    Else whether a result lies in new pages, whose faults can take longer than a kernel, hangs on what this process
    has allocated and freed before, which differs from a candidate to a baseline.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc alone has it
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _touch(result: object) -> None:
    """Read an element of every page of a result: memory may compute its content when it is first read."""
    import torch

    if isinstance(result, torch.Tensor) and result.numel():
        step = max(1, PAGE_BYTES // result.element_size())
        flat = result.detach().reshape(-1) if result.is_contiguous() else result.detach().flatten()
        flat[::step].clone()
    elif isinstance(result, tuple | list):
        for one in result:
            _touch(one)


def model_name() -> str:
    """The model's name by the operating system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


@functools.cache
def total_bytes() -> int:
    """The machine's memory."""
    return int(psutil.virtual_memory().total)


def allowed() -> frozenset[int]:
    """The numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _threads() -> list[int]:
    """Of this process, by their numbers."""
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _gaps(numbers: list[int]) -> bool:
    return numbers[-1] - numbers[0] >= len(numbers)
