"""The ledger: every measured trial of a search, one JSON line each, append-only.

It is the truth about what was measured: a line is on disk before the study hears
of the trial, so a search killed at any moment loses no measurement.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from tuner.errors import CacheError
from tuner.records import Trial


class Ledger:
    """A JSONL file of trials. Several processes may append to one at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

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
        if not self.path.exists():
            return []
        trials = []
        for line in self.path.read_bytes().splitlines():
            try:
                trials.append(Trial.model_validate_json(line))
            except ValidationError:
                continue
        return trials
