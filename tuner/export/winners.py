"""The winners of a config as one submission that is verified before it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from tuner import store
from tuner.backends import toolchain
from tuner.errors import CacheError
from tuner.execution import verdict
from tuner.execution.job import PREPARE_DEADLINE_S
from tuner.export import flashinfer, gpumode, kernelbench, kernels, module, source
from tuner.export.form import Interface, write_file, write_folder
from tuner.measurement.protocol import DescribeInterface, OpenInspector
from tuner.records import Record
from tuner.settings import Settings, resolve
from tuner.workers.worker import Worker

FORMATS = ("kernelbench", "module", "kernels", "flashinfer", "gpumode", "source")


def export_winners(
    settings: Settings,
    cache: Path,
    output: Path,
    force: bool,
    say: Callable[[str], None],
    backward: bool = False,
    form: str = "kernelbench",
) -> list[Record]:
    """Write the cached winners of a config in one of FORMATS, verified in that form for each of its workloads.

    With `backward` the file holds the reference too, whose gradients are its own.

    Raises CacheError when a workload has no winner for this device, ExportError when
    one of them is no faster than eager and `force` is not set, WrongFile when the
    file does not hold in a fresh process.
    """
    kernel, torch_device = resolve.template_and_device(settings)
    variables = toolchain.environment()
    problem = resolve.problem_path(settings, kernel)
    here = resolve.here(torch_device, variables)
    records = []
    for workload in resolve.workloads(settings, problem, variables):
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
            correctness = verdict.verify(
                file, problem, record.workload, torch_device, settings.error_budget, say, leaves=record.leaves
            )
            if correctness.fault:
                raise verdict.WrongFile(f"{output}: not written: {correctness.fault}")

    reference = problem if backward else None
    if form == "kernelbench":
        kernelbench.write(output, kernel, records, verify, force, reference)
        return records
    candidate, text = kernelbench.compose(kernel, records, reference), problem.read_text(encoding="utf-8")
    if form == "module":
        write_folder(output, module.form(kernel, records, candidate, text), records, verify, force)
    elif form == "kernels":
        write_folder(output, kernels.form(kernel, records, candidate, text), records, verify, force)
    elif form == "flashinfer":
        made = flashinfer.form(kernel, records, candidate, interface(problem, records[0], variables), text)
        write_folder(output, made, records, verify, force)
    elif form == "gpumode":
        made = gpumode.form(records, candidate, interface(problem, records[0], variables))
        write_file(output, (".py",), made, records, verify, force)
    else:
        suffixes = source.SUFFIXES[kernel.variant(records[0].point.variant).device]
        write_file(output, suffixes, source.form(kernel, records, candidate), records, verify, force)
    return records


def interface(problem: Path, record: Record, environment: Mapping[str, str]) -> Interface:
    """What goes in and out of the reference at a record's workload, asked of a process that may run it."""
    with Worker(OpenInspector(problem), environment) as worker:
        found = worker.call(DescribeInterface(record.workload), PREPARE_DEADLINE_S)
    return Interface(record.workload.inputs, tuple(zip(found.names, found.state, strict=True)), tuple(found.outputs))
