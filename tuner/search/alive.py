"""Which processes are alive, by locks: the kernel drops one the moment its process ends, however it ends."""

from __future__ import annotations

import contextlib
import glob
import secrets
import weakref
from pathlib import Path

import filelock


class Alive:
    """Says to others that the process that made this is alive, by a file beside `path` that it holds locked.

    Pids are of no use: they are given out again, and two containers with one folder do not see each
    other's. Make one while no other process does, and of this host only: not every file system
    shares its locks with other machines.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.token = path, secrets.token_hex(8)
        for left in self._files():
            if not _is_held(left):
                left.unlink(missing_ok=True)
        lock = filelock.FileLock(self._file(self.token), timeout=0, thread_local=False)
        lock.acquire()
        weakref.finalize(self, _release, lock)

    def is_alive(self, token: str) -> bool:
        """Whether the process that made the `Alive` with this token is."""
        return _is_held(self._file(token))

    def others(self) -> bool:
        """Whether other processes are, or have been killed."""
        mine = self._file(self.token)
        return any(file != mine for file in self._files())

    def _files(self) -> list[Path]:
        return list(self.path.parent.glob(f"{glob.escape(self.path.name)}.*.alive"))

    def _file(self, token: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{token}.alive")


def _is_held(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with filelock.FileLock(file, timeout=0):
            return False
    except filelock.Timeout:
        return True


def _release(lock: filelock.BaseFileLock) -> None:
    lock.release()
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()
