"""Tensors in files: written by one process, mapped or read by another. Bytes only, nothing is unpickled."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from tuner import backends
from tuner.verification.answers import Answer
from tuner.verification.criterion import Wrong
from tuner.verification.papers import GivenAnswer, GivenTensor, TensorFile
from tuner.verification.pieces import is_large

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip

_given_in_place: list[torch.Tensor] = []  # others may still have to read it


def write(x: torch.Tensor, path: Path) -> TensorFile:
    """Write x as it lies in memory from its storage's beginning to its last element."""
    whole = storage_of(x)
    _write_bytes(whole, path)
    return _file(x, path, whole.nbytes)


def lend(x: torch.Tensor, path: Path, shared: str) -> TensorFile:
    """The same where those bytes have been copied into memory that is shared in these words."""
    path.touch()
    return dataclasses.replace(_file(x, path, storage_of(x).nbytes), shared=shared)


def storage_of(x: torch.Tensor) -> torch.Tensor:
    """The elements from the beginning of x's storage to its last element, as one dimension."""
    last = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) if x.numel() else -1
    extent = int(x.storage_offset()) + last + 1 if x.numel() else 0
    return torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage(), 0, (extent,), (1,))


def _file(x: torch.Tensor, path: Path, nbytes: int) -> TensorFile:
    return TensorFile(path, _name(x.dtype), tuple(x.shape), tuple(x.stride()), int(x.storage_offset()), nbytes)


def read(file: TensorFile, device: str) -> torch.Tensor:
    """The tensor that a trusted process wrote or lent; on a CPU a private mapping of the file.

    Raises RuntimeError when what was lent cannot be read.
    """
    dtype = DTYPES[file.dtype]
    if file.nbytes == 0:
        return torch.empty_strided(file.shape, file.stride, dtype=dtype, device=device)
    if file.shared:
        whole = backends.of(device).copy_of_shared(file.shared, file.nbytes).view(dtype)
    else:
        storage: Any = torch.UntypedStorage.from_file(str(file.path), False, file.nbytes)
        whole = torch.empty(0, dtype=dtype).set_(storage, 0, (file.nbytes // dtype.itemsize,), (1,)).to(device)
    return whole.as_strided(file.shape, file.stride, file.offset)


def give(answer: Answer, folder: Path, number: int) -> GivenAnswer:
    """Give an answer: on a device that shares memory in place, else in files of `folder` by this number.

    What is given in place is kept until the next `release`.
    """
    tensors = tuple(_give(t, _path(folder, number, i)) for i, t in enumerate(answer.tensors))
    buffers = {
        name: _give(buffer, _path(folder, number, f"buffer-{i}"))
        for i, (name, buffer) in enumerate(answer.buffers.items())
    }
    return GivenAnswer(answer.structure, tensors, buffers)


def take(given: GivenAnswer, folder: Path, number: int, device: str, buffers: Collection[str] | None = None) -> Answer:
    """The answer that was given, whose shapes are known to be right. Raises Wrong when its files hold something else.

    Of the buffers those named in `buffers` are read, or all. Files are read and not mapped: whoever
    wrote them may still cut them short.
    """
    tensors = [_take(t, _path(folder, number, i), device) for i, t in enumerate(given.tensors)]
    taken = {
        name: _take(buffer, _path(folder, number, f"buffer-{i}"), device)
        for i, (name, buffer) in enumerate(given.buffers.items())
        if buffers is None or name in buffers
    }
    return Answer(given.structure, tensors, taken)


def described(x: torch.Tensor) -> GivenTensor:
    """What is said of a tensor beside its bytes."""
    return GivenTensor(_name(x.dtype), tuple(x.shape), str(x.device))


def _path(folder: Path, number: int, which: int | str) -> Path:
    return folder / f"{number}-{which}"


def release() -> None:
    """Let go of what was given in place."""
    _given_in_place.clear()


def _give(y: torch.Tensor, path: Path) -> GivenTensor:
    whole = y.detach().contiguous()
    backend = backends.of(str(y.device))
    in_files = whole.numel() == 0 or is_large(whole.nbytes, backend)  # what is given in place has to be kept
    shared = "" if in_files else backend.share_memory(whole)
    if shared:
        backend.synchronize()  # whole before another process reads it
        _given_in_place.append(whole)
    else:
        _write_bytes(whole, path)
    return dataclasses.replace(described(y), shared=shared)


def _take(given: GivenTensor, path: Path, device: str) -> torch.Tensor:
    dtype = DTYPES.get(given.dtype)
    if dtype is None or any(n < 0 for n in given.shape):
        raise Wrong(f"returned a tensor of {given.dtype[:20]!r}, which cannot be compared")
    if torch.device(given.device).type != torch.device(device).type:
        raise Wrong(f"on {given.device[:20]}, expected {device}")
    size = math.prod(given.shape) * dtype.itemsize
    if given.shared and size:
        try:
            return backends.of(device).copy_of_shared(given.shared, size).view(dtype).view(given.shape)
        except RuntimeError as error:
            raise Wrong(f"an answer cannot be read: {error}") from None
    raw = _read_bytes(path, size)
    if len(raw) != size:
        raise Wrong("an answer has another size than is said of it")
    flat = torch.frombuffer(raw, dtype=dtype) if size else torch.empty(0, dtype=dtype)
    return flat.view(given.shape).to(device)


def _read_bytes(path: Path, size: int) -> bytearray:
    """The bytes of a plain file, one more than `size` at most. A link, a pipe or a device is no answer."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Wrong("an answer is no plain file")
            raw = bytearray(min(size, os.fstat(handle).st_size) + 1)
            del raw[file.readinto(raw) :]
            return raw
    except OSError:
        raise Wrong("an answer is not there") from None


def _write_bytes(x: torch.Tensor, path: Path) -> None:
    flat = x.reshape(-1).view(torch.uint8).cpu() if x.numel() else torch.empty(0, dtype=torch.uint8)
    path.unlink(missing_ok=True)  # ext4 waits for the disk when a file is cut short and written anew
    path.write_bytes(flat.numpy().data)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
