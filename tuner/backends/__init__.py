"""Devices: one module a backend, and the toolchain that compiles for them.

    backends.of("cuda:0").environment()

Nothing outside this package asks which kind of device it works on: what differs is a
method or an attribute of `Backend`. A new backend is one more module and its line in `_KINDS`.
"""

from __future__ import annotations

import re

from tuner.backends import cuda
from tuner.backends.base import Backend, Clock, Reading, Timing
from tuner.backends.cpu import Cpu
from tuner.backends.cuda import Cuda
from tuner.errors import DeviceError

__all__ = ["Backend", "Clock", "Reading", "Timing", "of", "resolve"]

_KINDS: dict[str, type[Backend]] = {backend.kind: backend for backend in (Cuda, Cpu)}


def of(torch_device: str) -> Backend:
    """The backend of a device by its name for torch ("cuda:0", "cpu"), or of the first device of a kind ("cuda").

    Raises DeviceError for a kind that there is no backend for.
    """
    kind = torch_device.partition(":")[0]
    if kind not in _KINDS:
        raise DeviceError(f"device: {torch_device!r} is none of {', '.join(_KINDS)}")
    return _KINDS[kind](torch_device)


def resolve(wanted: str) -> str:
    """The name for torch of the device that a config asks for: "cpu" or "cuda:N" for `auto`, `cuda`, `cuda:N`, `cpu`.

    `auto` is the GPU where kernels can be built for one and run, else the CPU.
    Raises DeviceError when the device that was asked for is not there.
    """
    if wanted == "cpu":
        return wanted
    missing = Cuda("cuda:0").missing()
    if wanted == "auto":
        return "cpu" if missing else "cuda:0"
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", wanted)
    if match is None:
        raise DeviceError(f"device: {wanted!r} is not auto, cuda, cuda:N or cpu")
    if missing:
        raise DeviceError(f"device: {wanted} was asked for but {missing}; `tuner doctor` shows what works here")
    index = int(match[1] or 0)
    if index >= cuda.gpu_count():
        raise DeviceError(f"device: there is no {wanted}; this machine has {cuda.gpu_count()} GPU(s), counted from 0")
    return f"cuda:{index}"
