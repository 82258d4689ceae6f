"""Judging the `ModelNew` of any file, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import ConfigError, TunerError
from tuner.execution.pipeline import PREPARE_DEADLINE_S, Job, Lane, run_folder
from tuner.execution.worker import Worker, WorkerFailure
from tuner.records import Correctness, Precision, TensorSpec, Workload


class WrongFile(TunerError):
    """A file that was to be shipped is not right."""


def verify_file(
    file: Path,
    problem: Path,
    shapes: Sequence[tuple[int, ...]] | None,
    init: Sequence[Any] | None,
    wanted_device: str,
    precision: Precision,
    error_budget: float,
    say: Callable[[str], None],
) -> Correctness:
    """The thorough check of the `ModelNew` of any file, in a process of its own.

    Shapes and constructor arguments default to the problem's own. Raises TunerError
    for a file or problem that cannot be run at all.
    """
    if not os.path.isfile(file):
        raise ConfigError(f"{file}: no such file")
    environment = toolchain.environment()
    own = None
    if shapes is None or init is None:
        with Worker("tuner.measurement.session:Inspector", {"problem_path": str(problem)}, environment) as worker:
            own = Workload.model_validate(worker.call("workload", PREPARE_DEADLINE_S))
    workload = Workload(
        init=tuple(init) if init is not None else own.init,  # type: ignore[union-attr]
        inputs=tuple(TensorSpec(shape=s) for s in shapes) if shapes else own.inputs,  # type: ignore[union-attr]
        precision=precision,
    )
    return verify(
        file, problem, workload, backends.resolve(wanted_device), error_budget, environment, say, thoroughly=True
    )


def verify(
    file: Path,
    problem: Path,
    workload: Workload,
    torch_device: str,
    error_budget: float,
    environment: dict[str, str],
    say: Callable[[str], None],
    thoroughly: bool = False,
) -> Correctness:
    toolchain.need_toolchain()
    job = Job(problem, workload, torch_device, None, secrets.randbits(31), error_budget, 0, 0, environment)
    with run_folder() as folder, closing(Lane(job, folder)) as lane:
        say("computing the float64 oracle and the reference's own error")
        lane.prepare()
        say(f"building and verifying {file}")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            with lane.lock:
                answer = lane.worker.call(
                    "verify", PREPARE_DEADLINE_S, path=str(file.resolve()), sha256=sha256, thoroughly=thoroughly
                )
        except WorkerFailure as failure:
            raise WrongFile(f"{file}: {failure}") from None
        return Correctness.model_validate(answer)
