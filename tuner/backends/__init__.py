"""Devices: one module a backend, and the toolchain that compiles for them.

    backends.of("cuda:0").environment()

Nothing outside this package asks which kind of device it works on: what differs is a
method or an attribute of `Backend`. A new backend is one more module and its line in `_KINDS`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tuner.backends.base import Backend, Clock, Reading, Timing
from tuner.backends.cpu import Cpu
from tuner.backends.cuda import Cuda
from tuner.errors import DeviceError

__all__ = ["Backend", "Clock", "Reading", "Timing", "available", "every", "of", "resolve"]

# In order of preference; the last one is there on every machine.
_KINDS: dict[str, type[Backend]] = {backend.kind: backend for backend in (Cuda, Cpu)}

NAMES = "auto, cuda, cuda:N, cpu or cpu:A-B"  # what a device may be called, for a fault's line


def of(torch_device: str) -> Backend:
    """The backend of a device by its name ("cuda:0", "cpu", "cpu:0-3"), or of some device of a kind ("cuda").

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
    """The device that a config asks for, by its full name: "cuda:N", "cpu", or "cpu:A-B" for the cores A to B alone.

    `auto` is the GPU where kernels can be built for one and run, else the CPU.
    Raises DeviceError when the device that was asked for is not there.
    """
    if wanted == "auto":
        return available()[0]
    kind, colon, part = wanted.partition(":")
    if kind not in _KINDS or (colon and _KINDS[kind].part.fullmatch(part) is None):
        raise DeviceError(f"device: {wanted!r} is not {NAMES}")
    backend = of(wanted)
    if missing := backend.missing():
        raise DeviceError(f"device: {wanted} was asked for but {missing}; `tuner doctor` shows what works here")
    if absent := backend.absent():
        raise DeviceError(f"device: there is no {wanted}; this machine has {absent}")
    return f"{kind}:{re.sub('[0-9]+', lambda number: str(int(number[0])), part)}" if colon else _numbered(backend, 0)


def every(wanted: Sequence[str]) -> list[str]:
    """The devices that `devices` of a config names, once each, as `resolve` names them.

    `all` is every GPU where kernels can be built for one and run, else the CPU.
    Raises DeviceError like `resolve`, and for two that share cores.
    """
    first = of(available()[0])
    here = [_numbered(first, index) for index in range(first.count() if first.numbered else 1)]
    found = list(dict.fromkeys(name for each in wanted for name in (here if each == "all" else [resolve(each)])))
    for name, other in itertools.combinations(found, 2):
        if not set(of(name).parts()).isdisjoint(of(other).parts()):
            raise DeviceError(f"devices: {name} and {other} share what they run on; name disjoint ones")
    return found


def _numbered(backend: Backend, index: int) -> str:
    return f"{backend.kind}:{index}" if backend.numbered else backend.kind
