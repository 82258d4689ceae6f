"""Guard zones, poison and byte comparisons: what a candidate writes, and what it leaves unwritten, is seen."""

from __future__ import annotations

from typing import Any

import torch

from tuner.verification.dispatch import DispatchMode
from tuner.verification.pieces import chunks

GUARD_BYTES = 4096
MAX_SHIFT = 64  # elements


def _guarded_bytes(size: int, device: torch.device) -> torch.Tensor:
    """`size` bytes between two guard zones, every byte 0xFF: a NaN in any float type."""
    return torch.full((size + 2 * GUARD_BYTES,), 0xFF, dtype=torch.uint8, device=device)


def guarded_like(x: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
    """An unwritten tensor of x's shape, dtype, strides and alignment between guard zones; all of it NaN.

    It lies on `device`, or on x's.
    """
    strides = x.stride() if _apart(x) else torch.empty(x.shape, device="meta").stride()
    extent = int(1 + sum((n - 1) * s for n, s in zip(x.shape, strides, strict=True))) if x.numel() else 0
    shift = int(x.storage_offset()) % MAX_SHIFT  # what an allocation gives is aligned; the offset decides the rest
    buffer = _guarded_bytes((shift + extent) * x.element_size(), device or x.device)
    inner = buffer[GUARD_BYTES : buffer.numel() - GUARD_BYTES].view(x.dtype)
    return inner.as_strided(x.shape, strides, inner.storage_offset() + shift)


def _apart(x: torch.Tensor) -> bool:
    """Whether no two elements share memory, as those of an expanded tensor do."""
    return all(stride > 0 or size <= 1 for size, stride in zip(x.shape, x.stride(), strict=True))


def guards_intact(x: torch.Tensor) -> bool:
    """Whether the zones around a tensor from `guarded_like` still hold what was put there."""
    buffer = torch.empty(0, dtype=torch.uint8, device=x.device).set_(x.untyped_storage())
    return bool((buffer[:GUARD_BYTES] == 0xFF).all()) and bool((buffer[-GUARD_BYTES:] == 0xFF).all())


def poison(y: torch.Tensor) -> None:
    """Overwrite a result that is no longer needed: memory of a later allocation must not hold a right one."""
    if y.numel():
        extent = int(1 + sum((n - 1) * s for n, s in zip(y.shape, y.stride(), strict=True))) * y.element_size()
        whole = torch.empty(0, dtype=torch.uint8, device=y.device)
        whole.set_(y.untyped_storage(), int(y.storage_offset()) * y.element_size(), (extent,), (1,)).fill_(0xFF)


def guarded_copy(x: torch.Tensor) -> torch.Tensor:
    return guarded_like(x).copy_(x)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal byte for byte (NaNs with equal bits are equal)."""
    return (
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        if a.dim()
        else torch.equal(a.reshape(1).view(torch.uint8), b.reshape(1).view(torch.uint8))
    )


def unchanged(mine: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether a copy of x, which may be on another device, still has its bits; compared chunk by chunk."""
    return all(same_bits(a, b.to(a.device)) for a, b in chunks(mine, x))


_FILLED = {  # as _ALLOCATIONS, but their values stay
    torch.ops.aten.zeros.default,
    torch.ops.aten.zeros_like.default,
    torch.ops.aten.new_zeros.default,
    torch.ops.aten.ones.default,
    torch.ops.aten.full.default,
    torch.ops.aten.full_like.default,
    torch.ops.aten.new_full.default,
}
_ALLOCATIONS = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
}


class GuardedAllocations(DispatchMode):
    """Inside, every uninitialised tensor asked for from Python is NaN and lies between guard zones."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _ALLOCATIONS | _FILLED or result.layout != torch.strided or result.numel() == 0:
            return result
        guarded = guarded_like(result) if func in _ALLOCATIONS else guarded_copy(result)
        self.buffers.append(guarded)
        return guarded

    def intact(self) -> bool:
        """Whether every guard zone still holds what was put there."""
        return all(guards_intact(tensor) for tensor in self.buffers)
