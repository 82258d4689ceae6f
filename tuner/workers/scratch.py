"""This process's folder for temporary files: candidates, their builds, workers' logs, compilers' own.

It goes with the process. One that was killed leaves its folder behind, and the next to need one
sweeps it away: whoever uses a folder holds the lock in it, so what is alive is known by the lock,
also across containers that share a temporary folder and count their processes apart.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.util
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from tuner.errors import DeviceError

PREFIX = "tuner-run-"
UNLOCKED_PREFIX = "tuner-new-"  # in the moment between its making and its lock
UNLOCKED_S = 3600.0  # nothing is that long in that moment
LOCK = ".alive"
# A Unix socket's path has at most 107 bytes; multiprocessing adds "/pymp-xxxxxxxx/listener-xxxxxxxx".
LONGEST_FOR_SOCKETS = 107 - 33


@functools.cache
def _of_process(pid: int, root: str) -> Path:
    """The folder of process `pid`, made on the first call."""
    try:
        sweep(Path(root))
        new = Path(tempfile.mkdtemp(prefix=UNLOCKED_PREFIX, dir=root))
        lock = filelock.FileLock(new / LOCK, thread_local=False)
        lock.acquire(timeout=0)
        folder = new.rename(new.with_name(PREFIX + new.name.removeprefix(UNLOCKED_PREFIX)))
    except OSError as error:
        raise DeviceError(f"{root}: no temporary folder can be made there ({error.strerror}); set TMPDIR") from error

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()

    # Not atexit: multiprocessing's own folder in it goes first, at priority -100. A fork runs no finalizer of ours.
    multiprocessing.util.Finalize(None, remove, exitpriority=-200)
    return folder


def folder() -> Path:
    """The folder; it stays as long as the process."""
    return _of_process(os.getpid(), tempfile.gettempdir())


@contextlib.contextmanager
def subfolder() -> Iterator[Path]:
    """A folder in it for one search, removed at the end."""
    made = Path(tempfile.mkdtemp(prefix="search-", dir=folder()))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove the folders of killed processes under `root`; what is another user's stays."""
    for old in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, filelock.Timeout):
            lock = filelock.FileLock(old / LOCK)
            with lock.acquire(timeout=0):
                shutil.rmtree(old, ignore_errors=True)
    for new in root.glob(f"{UNLOCKED_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - new.stat().st_mtime > UNLOCKED_S:
                shutil.rmtree(new, ignore_errors=True)


@contextlib.contextmanager
def temporary_files_here() -> Iterator[None]:
    """Inside, Python's own temporary files go into the folder, where the next process sweeps them.

    Not where its path is too long for the sockets among them.
    """
    before = tempfile.tempdir
    if len(os.fsencode(folder())) <= LONGEST_FOR_SOCKETS:
        tempfile.tempdir = str(folder())
    elif os.access("/tmp", os.W_OK):
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = before
