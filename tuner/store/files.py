"""The cache's files: written so that they last, read so that a damaged one is told, one writer at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tuner.errors import CacheError, TunerError
from tuner.store.layout import LOCK

LOCK_TIMEOUT_S = 60


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """One writer at a time in a cache. The kernel frees the lock of a killed process."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise CacheError(f"{root}: another process has held the cache for {LOCK_TIMEOUT_S} s") from None
    except TunerError:
        raise
    except OSError as error:
        raise CacheError(f"{root}: cannot write the cache: {error.strerror or error}") from error


def write(path: Path, content: bytes) -> None:
    """Write a file and have it on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Make renames in `folder` last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty(folder: Path, root: Path) -> None:
    """Remove `folder` and those it lies in, up to `root`, as far as they are empty."""
    for empty in (folder, folder.parent, folder.parents[1]):
        if empty == root or any(empty.iterdir()):
            return
        empty.rmdir()
