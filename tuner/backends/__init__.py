"""Devices: one module a backend, and the toolchain that compiles for them.

    backends.of("cuda:0").environment()

Nothing outside this package asks which kind of device it works on: what differs is a
method or an attribute of `Backend`. A new backend is one more module and its line in `_KINDS`.
"""

from __future__ import annotations

import re

from tuner.backends.base import Backend, Clock, Reading, Timing
from tuner.backends.cpu import Cpu
from tuner.backends.cuda import Cuda
from tuner.errors import DeviceError

__all__ = ["Backend", "Clock", "Reading", "Timing", "available", "of", "resolve"]

# In order of preference; the last one is there on every machine.
_KINDS: dict[str, type[Backend]] = {backend.kind: backend for backend in (Cuda, Cpu)}


def of(torch_device: str) -> Backend:
    """The backend of a device by its name for torch ("cuda:0", "cpu"), or of some device of a kind ("cuda").

    Raises DeviceError for a kind that there is no backend for.
    """
    kind = torch_device.partition(":")[0]
    if kind not in _KINDS:
        raise DeviceError(f"device: {torch_device!r} is none of {', '.join(_KINDS)}")
    return _KINDS[kind](torch_device)


def available() -> list[str]:
    """By its name for torch, the first device of each kind that kernels can be built for and run on here."""
    return [_numbered(backend, 0) for backend in map(of, _KINDS) if backend.missing() is None]


def resolve(wanted: str) -> str:
    """The name for torch of the device that a config asks for: "cpu" or "cuda:N" for `auto`, `cuda`, `cuda:N`, `cpu`.

    `auto` is the GPU where kernels can be built for one and run, else the CPU.
    Raises DeviceError when the device that was asked for is not there.
    """
    if wanted == "auto":
        return available()[0]
    match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,3}))?", wanted)
    if match is None or match[1] not in _KINDS or (match[2] and not _KINDS[match[1]].numbered):
        names = [name for kind in _KINDS for name in ([kind, f"{kind}:N"] if _KINDS[kind].numbered else [kind])]
        raise DeviceError(f"device: {wanted!r} is not auto, {', '.join(names[:-1])} or {names[-1]}")
    backend, index = of(wanted), int(match[2] or 0)
    if missing := backend.missing():
        raise DeviceError(f"device: {wanted} was asked for but {missing}; `tuner doctor` shows what works here")
    if index >= backend.count():
        there = f"{backend.count()} {backend.name}(s), counted from 0"
        raise DeviceError(f"device: there is no {wanted}; this machine has {there}")
    return _numbered(backend, index)


def _numbered(backend: Backend, index: int) -> str:
    return f"{backend.kind}:{index}" if backend.numbered else backend.kind
