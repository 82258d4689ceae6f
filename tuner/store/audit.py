"""Looking after a cache: what it answers to a config, and what a look at every entry finds."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner import backends, store, template
from tuner.backends import toolchain
from tuner.errors import CacheError, TunerError
from tuner.execution import verdict
from tuner.settings import Settings, folder_of, resolve, template_folders, working_folder
from tuner.store import Entry
from tuner.template import Template


@dataclass(frozen=True)
class WorkloadAnswers:
    """What the entries of a cache have to say to one workload of a config."""

    workload: str
    entries: tuple[store.Answer, ...]

    @property
    def hit(self) -> bool:
        """Whether an entry applies."""
        return any(not entry.reason for entry in self.entries)


def why(settings: Settings, cache: Path) -> list[WorkloadAnswers]:
    """For each workload of a config what the cache answers on this machine. Raises TunerError."""
    kernel, torch_device = resolve.template_and_device(settings)
    variables = toolchain.environment()
    here = resolve.here(torch_device, variables)
    problem = resolve.problem_path(settings, kernel)
    wanted = resolve.workloads(settings, problem, variables)
    sha256 = hashlib.sha256(problem.read_bytes()).hexdigest()
    return [
        WorkloadAnswers(f"{kernel.name} {each.slug}", tuple(store.why(cache, kernel, each, here, sha256)))
        for each in wanted
    ]


@dataclass(frozen=True)
class Finding:
    """What `verify_cache` found in one entry; `said` is one line without the folder."""

    folder: Path
    ok: bool
    said: str


def verify_cache(cache: Path, run: bool, templates: Sequence[str], say: Callable[[str], None]) -> list[Finding]:
    """Judge every entry; a damaged one is moved to the quarantine. With `run` the suite judges them as well.

    `templates` are those to know beside the project's and the shipped ones, and before them.
    """
    here = working_folder()
    folders = [*template_folders(here).values(), *(folder_of(name, here) for name in templates)]
    kernels = {kernel.name: kernel for kernel in map(template.load, folders)}
    variables = toolchain.environment()
    devices = {resolve.here(d, variables).slug: d for d in (backends.available() if run else ())}

    def suite(entry: Entry, kernel: Template) -> str:
        record, here = entry.record, devices.get(entry.record.environment.slug)
        if here is None:
            return ""
        file = entry.folder / store.TEXT
        return verdict.verify(
            file, kernel.problem, record.workload, here, record.error_budget, say, leaves=record.leaves
        ).fault

    with contextlib.suppress(CacheError):  # a cache that cannot be written is judged as it lies
        store.sweep(cache)
    findings = (_look_at(folder, kernels, suite) for folder in store.folders(cache))
    return [finding for finding in findings if finding is not None]


def _look_at(folder: Path, kernels: Mapping[str, Template], suite: Callable[[Entry, Template], str]) -> Finding | None:
    """None where no entry is."""
    try:
        entry = store.fetch(folder)
        if entry is None:
            return None
        name = entry.record.template
        if name not in kernels:
            return Finding(
                folder,
                True,
                f"not checked: its template {name} is none of the project's or the shipped ones; --template names more",
            )
        store.load_checked(entry, kernels[name])
        fault = suite(entry, kernels[name])
    except store.EntryFault as error:
        fault = error.reason
    except TunerError as error:
        fault = str(error).removeprefix(f"{folder}/")
    return Finding(folder, not fault, fault or "ok")
