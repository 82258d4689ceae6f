"""The winners of a config as one submission that is verified before it is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tuner import store
from tuner.backends import toolchain
from tuner.errors import CacheError
from tuner.execution import verdict
from tuner.export import kernelbench
from tuner.records import Record
from tuner.settings import Settings, resolve


def export_winners(
    settings: Settings, cache: Path, output: Path, force: bool, say: Callable[[str], None], backward: bool = False
) -> list[Record]:
    """Write the cached winners of a config as one submission, verified for each of its workloads.

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

    kernelbench.write(output, kernel, records, verify, force, problem if backward else None)
    return records
