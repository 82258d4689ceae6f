"""Judging files rather than points: `tuner verify`, and the proof that an export holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import store, template
from tuner.backends import device
from tuner.errors import CacheError, ConfigError, TunerError
from tuner.execution.pipeline import PREPARE_DEADLINE_S, Job, Lane, run_folder
from tuner.execution.worker import Worker, WorkerFailure
from tuner.export import kernelbench as export
from tuner.records import Correctness, Precision, Record, TensorSpec, Workload
from tuner.search import run as tune
from tuner.settings import Settings
from tuner.store import Entry
from tuner.template import Template


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
        with Worker("tuner.measurement.session:Inspector", {"problem_path": str(problem)}, environment) as worker:
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


def why(settings: Settings, cache: Path) -> list[tuple[str, list[store.Answer]]]:
    """For each workload of a config: its name and what the entries of the cache have to say to it."""
    kernel, torch_device = tune.template_and_device(settings)
    toolchain = device.toolchain_environment()
    here = tune.here(torch_device, toolchain)
    problem = tune.problem_path(settings, kernel)
    wanted = tune.workloads(settings, problem, toolchain)
    sha256 = hashlib.sha256(problem.read_bytes()).hexdigest()
    return [(f"{kernel.name} {each.slug}", store.why(cache, kernel, each, here, sha256)) for each in wanted]


@dataclass(frozen=True)
class Verdict:
    """What `verify_cache` found in one entry; `said` is one line without the folder."""

    folder: Path
    ok: bool
    said: str


def verify_cache(cache: Path, run: bool, templates: Sequence[str], say: Callable[[str], None]) -> list[Verdict]:
    """Judge every entry; a damaged one is moved to the quarantine. With `run` the suite judges them as well.

    `templates` are those to know beside the shipped ones, and before them.
    """
    kernels = {k.name: k for k in (template.find(n, Path.cwd()) for n in [*template.shipped_names(), *templates])}
    toolchain = device.toolchain_environment()
    devices = {tune.here(d, toolchain).slug: d for d in ({"cpu", device.resolve("auto")} if run else set())}

    def suite(entry: Entry, kernel: Template) -> str:
        record, here = entry.record, devices.get(entry.record.environment.slug)
        if here is None:
            return ""
        file = entry.folder / store.TEXT
        return _verify(file, kernel.problem, record.workload, here, record.error_budget, toolchain, say).fault

    with contextlib.suppress(CacheError):  # a cache that cannot be written is judged as it lies
        store.sweep(cache)
    verdicts = (_verdict(folder, kernels, suite) for folder in store.folders(cache))
    return [verdict for verdict in verdicts if verdict is not None]


def _verdict(folder: Path, kernels: Mapping[str, Template], suite: Callable[[Entry, Template], str]) -> Verdict | None:
    """None where no entry is."""
    try:
        entry = store.fetch(folder)
        if entry is None:
            return None
        name = entry.record.template
        if name not in kernels:
            return Verdict(
                folder, True, f"not checked: its template {name} is not among the shipped ones; --template names others"
            )
        store.load_checked(entry, kernels[name])
        fault = suite(entry, kernels[name])
    except store.EntryFault as error:
        fault = error.reason
    except TunerError as error:
        fault = str(error).removeprefix(f"{folder}/")
    return Verdict(folder, not fault, fault or "ok")


def export_winners(
    settings: Settings, cache: Path, output: Path, force: bool, say: Callable[[str], None]
) -> list[Record]:
    """Write the cached winners of a config as one submission, verified for each of its workloads.

    Raises CacheError when a workload has no winner for this device, ExportError when
    one of them is no faster than eager and `force` is not set, WrongFile when the
    file does not hold in a fresh process.
    """
    kernel, torch_device = tune.template_and_device(settings)
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
