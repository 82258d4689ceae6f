"""Judging the `ModelNew` of any file, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tuner.backends import toolchain
from tuner.errors import ConfigError, TunerError
from tuner.execution.job import Job
from tuner.execution.lane import Lane
from tuner.records import Correctness, Workload
from tuner.workers import scratch
from tuner.workers.worker import WorkerFailure


class WrongFile(TunerError):
    """A file that was to be shipped is not right."""


def require_file(file: Path) -> None:
    """Raise ConfigError unless there is such a file."""
    if not os.path.isfile(file):
        raise ConfigError(f"{file}: no such file")


def verify(
    file: Path,
    problem: Path,
    workload: Workload,
    torch_device: str,
    error_budget: float,
    say: Callable[[str], None],
    thoroughly: bool = False,
) -> Correctness:
    """The cases of a trial on one file, or with `thoroughly` all there are.

    Raises WrongFile for a file that ends its process.
    """
    toolchain.need_toolchain()
    job = Job(problem, workload, torch_device, secrets.randbits(31), error_budget, toolchain.environment())
    with scratch.subfolder() as folder, closing(Lane(job, folder, say)) as lane:
        say("computing the float64 oracle and the reference's own error")
        lane.prepare()
        say(f"building and verifying {file}")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            return lane.verify(file.resolve(), sha256, thoroughly)
        except WorkerFailure as failure:
            raise WrongFile(f"{file}: {failure}") from None
