"""What the NVIDIA driver tells of a GPU, by NVML.

A machine without the driver, or without its library, has no readings: they are None then.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from tuner.backends.base import Reading

KERNEL_MODULE = Path("/sys/module/nvidia/version")
# Bits of nvmlClocksEventReasons that mean less speed than asked for; an idle GPU is none of them.
THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat (hardware)",
    0x80: "power brake",
}


def driver_version() -> str | None:
    """Version of the NVIDIA driver; a winner's key holds it, so it is known where NVML's library is not."""
    if is_there():
        version: str | None = _told(pynvml.nvmlSystemGetDriverVersion)
        return version
    with contextlib.suppress(OSError):
        return KERNEL_MODULE.read_text().strip() or None
    return None


def utilisation(device: str) -> float | None:
    """Share of the last moment in which a kernel ran, 0 to 1, by a PCI bus id or a "cuda:N"."""
    handle = handle_of(device)
    rates = _told(pynvml.nvmlDeviceGetUtilizationRates, handle) if handle is not None else None
    return None if rates is None else rates.gpu / 100


def reading(device: str) -> Reading | None:
    """Clocks, power, temperature and throttling at this moment, by a PCI bus id or a "cuda:N"."""
    handle = handle_of(device)
    if handle is None:
        return None
    reasons = _told(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
    return Reading(
        sm_mhz=_number(_told(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)),
        memory_mhz=_number(_told(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM)),
        power_w=_number(_told(pynvml.nvmlDeviceGetPowerUsage, handle)) / 1000,
        temperature_c=_number(_told(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)),
        throttling=tuple(name for bit, name in THROTTLING.items() if reasons & bit),
    )


@functools.cache
def is_there() -> bool:
    """Whether the driver's library is there and answers."""
    with contextlib.suppress(pynvml.NVMLError, OSError):
        pynvml.nvmlInit()
        return True
    return False


@functools.cache
def handle_of(device: str) -> Any:
    """NVML's name for a GPU, by a PCI bus id or a "cuda:N"; None where there is none."""
    if not is_there():
        return None
    if device.startswith("cuda:"):  # no driver told the bus id
        return _told(pynvml.nvmlDeviceGetHandleByIndex, int(device.removeprefix("cuda:")))
    return _told(pynvml.nvmlDeviceGetHandleByPciBusId, device)


def _told(ask: Callable[..., Any], *arguments: Any) -> Any:
    """The driver's answer; None where this GPU or driver has none."""
    with contextlib.suppress(pynvml.NVMLError):
        return ask(*arguments)
    return None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
