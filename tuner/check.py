"""Judging files rather than points: `tuner verify`, and the proof that an export holds."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tuner import device, export, render, store, template, tune
from tuner.errors import CacheError, ConfigError, TunerError
from tuner.pipeline import PREPARE_DEADLINE_S, Job, Lane, run_folder
from tuner.records import Correctness, Precision, Record, TensorSpec, Workload
from tuner.settings import Settings
from tuner.worker import Worker, WorkerFailure


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
    environment = device.toolchain_environment()
    own = None
    if shapes is None or init is None:
        with Worker("tuner.evaluate:Inspector", {"problem_path": str(problem)}, environment) as worker:
            own = Workload.model_validate(worker.call("workload", PREPARE_DEADLINE_S))
    workload = Workload(
        init=tuple(init) if init is not None else own.init,  # type: ignore[union-attr]
        inputs=tuple(TensorSpec(shape=s) for s in shapes) if shapes else own.inputs,  # type: ignore[union-attr]
        precision=precision,
    )
    return _verify(
        file, problem, workload, device.resolve(wanted_device), error_budget, environment, say, thoroughly=True
    )


def _verify(
    file: Path,
    problem: Path,
    workload: Workload,
    torch_device: str,
    error_budget: float,
    environment: dict[str, str],
    say: Callable[[str], None],
    thoroughly: bool = False,
) -> Correctness:
    device.need_toolchain()
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


def why(settings: Settings, cache: Path) -> list[tuple[str, list[str]]]:
    """For each workload of a config: its name and which key fields keep the cache from answering (none: a hit)."""
    kernel = template.find(settings.template, Path.cwd())
    toolchain = device.toolchain_environment()
    here = tune.here(device.resolve(settings.device), toolchain)
    digests = {v.name: render.digest(kernel, v) for v in kernel.variants}
    answers = []
    for workload in tune.workloads(settings, tune.problem_path(settings, kernel), toolchain):
        lines = store.why(cache, kernel.name, workload, here, digests)
        hit = any(line.endswith(": a hit") for line in lines)
        answers.append((f"{kernel.name} {workload.slug}", [] if hit else lines or ["nothing is cached"]))
    return answers


def verify_cache(cache: Path, run: bool, say: Callable[[str], None]) -> list[tuple[str, str]]:
    """Each entry's folder and what is wrong with it ("" for nothing); with `run` the suite judges it as well."""
    toolchain = device.toolchain_environment()
    devices = {tune.here(d, toolchain).slug: d for d in ({"cpu", device.resolve("auto")} if run else set())}
    answers = []
    store.sweep(cache)
    entries, faults = store.scan(cache)
    for entry in entries:
        fault = ""
        try:
            kernel = template.find(entry.record.template, Path.cwd())
            store.load_checked(entry, kernel)
            here = devices.get(entry.record.environment.slug)
            if here is not None:
                record = entry.record
                correctness = _verify(
                    entry.folder / "model_new.py", kernel.problem, record.workload, here, record.error_budget,
                    toolchain, say,
                )  # fmt: skip
                fault = correctness.fault
        except TunerError as error:
            fault = str(error)
        answers.append((str(entry.folder), fault))
    return answers + [(str(cache), fault) for fault in faults]


def export_winners(
    settings: Settings, cache: Path, output: Path, force: bool, say: Callable[[str], None]
) -> list[Record]:
    """Write the cached winners of a config as one submission, verified for each of its workloads.

    Raises CacheError when a workload has no winner for this device, ExportError when
    one of them is no faster than eager and `force` is not set, WrongFile when the
    file does not hold in a fresh process.
    """
    kernel = template.find(settings.template, Path.cwd())
    torch_device = device.resolve(settings.device)
    toolchain = device.toolchain_environment()
    problem = tune.problem_path(settings, kernel)
    here = tune.here(torch_device, toolchain)
    records = []
    for workload in tune.workloads(settings, problem, toolchain):
        entry = store.get(cache, here.slug, kernel.name, workload.slug)
        if entry is None:
            raise CacheError(
                f"{cache}: no winner for {kernel.name} {workload.slug} on {here.device_name}; run `tuner search` first"
            )
        store.load_checked(entry, kernel)
        if entry.record.problem_sha256 != hashlib.sha256(problem.read_bytes()).hexdigest():
            raise CacheError(f"{entry.folder}: was measured against another problem than {problem}; search again")
        records.append(entry.record)

    def verify(file: Path) -> None:
        for record in records:
            correctness = _verify(
                file, problem, record.workload, torch_device, settings.error_budget, toolchain, say,
                thoroughly=not record.confirmed,
            )  # fmt: skip
            if correctness.fault:
                raise WrongFile(f"{output}: not written: {correctness.fault}")

    export.write(output, kernel, records, verify, force)
    return records
