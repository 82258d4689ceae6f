"""The ledger: every measured trial of a search, one JSON line each, append-only.

It is the truth about what was measured: a line is on disk before the study hears
of the trial, so a search killed at any moment loses no measurement.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from pydantic import ValidationError

from tuner.errors import CacheError
from tuner.records import Trial


class Ledger:
    """A JSONL file of trials. Several processes may append to one at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = 0  # bytes that `news` has returned

    def append(self, trial: Trial) -> None:
        """Write one line and flush it to the disk. Raises CacheError when that fails."""
        line = (trial.model_dump_json() + "\n").encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a line cut short by a kill or a full disk ends here
                if os.write(handle, line) != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise CacheError(f"{self.path}: cannot write the ledger of trials: {error.strerror}") from error

    def read(self) -> list[Trial]:
        """All whole lines, in order; a line cut short or altered is left out."""
        return _trials(self._bytes(0))

    def news(self) -> list[Trial]:
        """The whole lines that were added, by whatever process, since the last call."""
        whole, newline, _ = self._bytes(self.seen).rpartition(b"\n")
        self.seen += len(whole) + len(newline)
        return _trials(whole)

    def _bytes(self, start: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise CacheError(f"{self.path}: cannot read the ledger of trials: {error.strerror}") from error


def _trials(lines: bytes) -> list[Trial]:
    trials = []
    for line in lines.split(b"\n"):
        with contextlib.suppress(ValidationError):
            trials.append(Trial.model_validate_json(line))
    return trials
