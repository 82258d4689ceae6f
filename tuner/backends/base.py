"""What the framework asks of a kind of device."""

from __future__ import annotations

import os
import platform
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuner import __version__
from tuner.backends.toolchain import NONE
from tuner.records import Environment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Timing:
    """One timed call."""

    elapsed_ms: float
    late_ms: float  # for how long the device went on working after the call had ended on its stream
    result: torch.Tensor


class Clock(ABC):
    """Times single calls on one device."""

    @abstractmethod
    def time(self, call: Callable[[], torch.Tensor]) -> Timing:
        """Run `call` once on an otherwise idle device, with its caches cold where they matter."""


@dataclass(frozen=True)
class Reading:
    """One moment of a working device; NaN for what the driver does not tell."""

    sm_mhz: float
    memory_mhz: float
    power_w: float
    temperature_c: float
    throttling: tuple[str, ...]  # reasons for running slower than asked


class Backend(ABC):
    """One device of one kind. torch is imported only by the methods that say so."""

    kind: ClassVar[Literal["cuda", "cpu"]]
    name: ClassVar[str]  # what a person calls such a device
    numbered: ClassVar[bool]  # whether there may be several, which torch counts from 0
    part: ClassVar[re.Pattern[str]]  # what may stand behind the colon of a device's name
    cores_name: ClassVar[str]  # what a person calls `Environment.cores`
    toolkit_name: ClassVar[str]  # what a person calls `Environment.toolkit`
    has_driver: ClassVar[bool]  # whether `Environment.driver` and `.cudnn` mean something
    compiles_beside_measuring: ClassVar[bool]  # False where compilers would take the cores that are being timed
    fresh_benches: ClassVar[bool]  # whether every trial has a process of its own; False where starting one takes long
    small_cases: ClassVar[bool]  # whether all but one verification case use a few samples, forwards being slow
    proof_share: ClassVar[float]  # a time below this share of the physical floor proves a fault of the measurement
    one_search: ClassVar[bool]  # whether a search needs the device's memory for itself
    steady_ceilings: ClassVar[bool]  # False where other processes lower them, so that two readings are better than one
    cache_bytes: ClassVar[
        int
    ]  # caches may hold a smaller workload, so memory's bandwidth is no floor; 0: they are cold
    sanitizers: ClassVar[tuple[str, ...]]  # checks of compute-sanitizer that apply

    def __init__(self, device: str) -> None:
        self.device = device  # its name here: "cuda:0", "cpu", "cpu:0-3"
        self.torch_device = device  # its name for torch

    # ---- from any process ----

    @abstractmethod
    def missing(self) -> str | None:
        """What keeps kernels from being built and run on this kind of device, or None."""

    @abstractmethod
    def count(self) -> int:
        """How many devices of this kind this process sees."""

    @abstractmethod
    def absent(self) -> str:
        """What there is instead, for a device that is not there; "" for one that is."""

    @abstractmethod
    def physical_id(self) -> str:
        """Names the physical device, whatever number this process knows it by."""

    def parts(self) -> tuple[str, ...]:
        """Names of what no two may time something on at once: the device, or each of its cores, in order."""
        return (self.physical_id(),)

    @abstractmethod
    def environment(self) -> Environment:
        """Where a measurement on this device is made. Imports torch."""

    @abstractmethod
    def limits(self, environment: Environment) -> dict[str, Any]:
        """The device's part of `space.Facts`, from an environment that may have been read from a record."""

    @abstractmethod
    def target(self, environment: Environment) -> tuple[int, int] | None:
        """The compute capability that kernels are compiled for; None where there is no such thing."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """The device's memory. Imports torch where a GPU has it."""

    @abstractmethod
    def free_bytes(self) -> int:
        """How much of it nobody holds at this moment; what torch keeps for later tensors is held."""

    @abstractmethod
    def compile_processes(self) -> int:
        """How many candidates are compiled at once; 1 unless that goes on beside measuring."""

    @abstractmethod
    def busy(self) -> float:
        """Share of the device that is used at this moment, 0 to 1; NaN where nothing tells."""

    @abstractmethod
    def reading(self) -> Reading | None:
        """Clocks, power and throttling at this moment; None where nothing tells."""

    @abstractmethod
    def load(self) -> dict[str, str]:
        """What else the operating system tells of the device's load, by a name for people."""

    @property
    def host_cores(self) -> int:
        """How many of the machine's cores a process that works with the device may run on."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    # ---- inside a worker: all of them import torch ----

    @abstractmethod
    def ceilings(self) -> dict[str, float]:
        """What the device can do, measured now in about two seconds: the base of a record's floor.

        Units are in the names; a copy's bandwidth counts what is read and what is written.
        """

    @abstractmethod
    def select(self) -> None:
        """Make it the current device of this process, which keeps to its cores where the device is some of a CPU's."""

    def keep_to_cores(self) -> None:
        """Run on the device's own cores, where it is some of a CPU's."""
        return

    def has_strayed(self) -> bool:
        """Whether a thread of this process may run where `select` did not put it."""
        return False

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for all work on the device. Raises RuntimeError when it has failed."""

    @abstractmethod
    def delay(self) -> None:
        """Hold the current stream for about half a millisecond, so that work that ignores its order comes too early."""

    @abstractmethod
    def release_memory(self) -> None:
        """Give back what torch keeps for later tensors."""

    @abstractmethod
    def is_healthy(self) -> bool:
        """Whether the device still computes in this process: after an illegal address it does not."""

    @abstractmethod
    def share_memory(self, x: torch.Tensor) -> str:
        """What another process needs to read a contiguous tensor on the device in place; "" where it cannot.

        The tensor has to be kept until that process has read it.
        """

    @abstractmethod
    def lendable(self, size: int) -> torch.Tensor | None:
        """At least `size` bytes on the device for `share_memory`, through which nothing else is seen.

        None where memory is not shared, or none is free.
        """

    @abstractmethod
    def copy_of_shared(self, shared: str, size: int) -> torch.Tensor:
        """A copy, as bytes on the device, of `size` bytes that another process shares. Raises RuntimeError."""

    @abstractmethod
    def clock(self) -> Clock:
        """A new clock, with the buffers that it needs."""


def common_environment() -> dict[str, Any]:
    """The fields of an Environment that are the same on every device. Imports torch."""
    import torch

    return {
        "torch": torch.__version__,
        "cudnn": str(torch.backends.cudnn.version() or NONE),
        "python": platform.python_version(),
        "tuner": __version__,
    }


def plain(name: str) -> str:
    """A device's name with nothing in it that could mean something in a path or in Python text."""
    return " ".join(re.sub(r"[^A-Za-z0-9 ()@.,:+_-]", " ", name).split()) or "unknown"
