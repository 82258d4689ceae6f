"""Device memory that another process opens: CUDA's IPC handles, by the driver.

Not PyTorch's own sharing of storages, which counts references in files that either side may write.
"""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass

import torch

GRANULE = 2**21
_LAZY_PEER_ACCESS = 1


class _Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 64)]


class IpcError(RuntimeError):
    """The driver refuses: memory of another kind of allocator, a handle that is none, a range beyond the memory."""


@dataclass(frozen=True)
class SharedMemory:
    """Where a tensor's bytes lie: a handle of the allocation, and how far into it they begin."""

    handle: bytes
    offset: int


def share(x: torch.Tensor) -> SharedMemory:
    """The memory of a contiguous tensor on a CUDA device, which has to be kept until others have read it.

    Raises IpcError.
    """
    base, _ = _range(x.data_ptr())
    handle = _Handle()
    _call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_uint64(base))
    return SharedMemory(ctypes.string_at(ctypes.byref(handle), 64), x.data_ptr() - base)


def allocated(size: int, device: str) -> torch.Tensor:
    """At least `size` bytes on `device` that share no allocation with other tensors. Raises IpcError.

    A handle opens all of an allocation: one of PyTorch's has many tensors, and small ones of the driver's share GRANULE
    bytes.
    """
    torch.cuda.synchronize(device)  # and makes the device's context this thread's own
    pointer, whole = ctypes.c_uint64(), -(-size // GRANULE) * GRANULE
    _call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(whole))
    return torch.as_tensor(_Owned(pointer.value, whole), device=device)


def copy_of(memory: SharedMemory, size: int, device: str) -> torch.Tensor:
    """A copy, as bytes on `device`, of `size` bytes that another process has shared. Raises IpcError."""
    if len(memory.handle) != 64 or memory.offset < 0 or size <= 0:
        raise IpcError("no handle of shared memory")
    torch.cuda.synchronize(device)  # and makes the device's context this thread's own
    pointer = ctypes.c_uint64()
    _call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), _Handle.from_buffer_copy(memory.handle), _LAZY_PEER_ACCESS)
    try:
        _, extent = _range(pointer.value)
        if memory.offset + size > extent:
            raise IpcError("shared memory ends before what is said to lie in it")
        bytes_there = torch.as_tensor(_Bytes(pointer.value + memory.offset, size), device=device)
        copied = bytes_there.clone()
        torch.cuda.synchronize(device)
        return copied
    finally:
        _call("cuIpcCloseMemHandle", pointer)


class _Bytes:
    """Device memory as libraries pass it to each other."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


class _Owned(_Bytes):
    """The same of an allocation that ends with this object, which the tensor over it keeps."""

    def __init__(self, pointer: int, size: int) -> None:
        super().__init__(pointer, size)
        self.pointer = pointer

    def __del__(self) -> None:
        with contextlib.suppress(IpcError):
            _call("cuMemFree_v2", ctypes.c_uint64(self.pointer))


def _range(pointer: int) -> tuple[int, int]:
    """The allocation that an address lies in: where it begins, and its bytes."""
    base, size = ctypes.c_uint64(), ctypes.c_size_t()
    _call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), ctypes.c_uint64(pointer))
    return base.value, size.value


def _call(name: str, *arguments: object) -> None:
    code = getattr(ctypes.CDLL("libcuda.so.1"), name)(*arguments)
    if code != 0:
        raise IpcError(f"{name} failed with CUDA error {code}")
