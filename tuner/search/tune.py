"""What `tuner search` does: a search and a final for each workload of a config, each winner into the cache."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tuner import backends, store
from tuner.backends import toolchain
from tuner.errors import CacheError
from tuner.execution.device_lock import DeviceLock
from tuner.execution.job import PREPARE_DEADLINE_S, Job
from tuner.measurement.protocol import OpenInspector, RequireWorkload
from tuner.records import Record, Workload
from tuner.search import final, outline, warm
from tuner.search.deciding import NoneHolds
from tuner.search.observer import Observer
from tuner.search.progress import Progress
from tuner.search.run import Run, runs_folder
from tuner.search.station import Alone, Here, Place, Station
from tuner.settings import Settings, resolve
from tuner.template import Template
from tuner.workers import scratch
from tuner.workers.worker import Worker


@dataclass
class Outcome:
    """What came of one workload. `record` is None when nothing right was found."""

    workload: Workload
    progress: Progress
    record: Record | None
    stored: bool
    folder: Path | None  # of the cache entry
    notes: list[str]  # what went wrong on the way and did not matter
    ledger: Path  # every trial, with its log


@dataclass(frozen=True)
class Asked:
    """A search that was asked for: one workload of a config, on whatever device."""

    settings: Settings
    template: Template
    problem: Path
    workload: Workload
    cache: Path
    environment: Mapping[str, str]  # of the processes

    def job(self, device: str) -> Job:
        return Job(
            problem=self.problem,
            workload=self.workload,
            torch_device=device,
            seed=secrets.randbits(31),
            error_budget=self.settings.error_budget,
            environment=self.environment,
            compile_timeout_s=self.settings.compile_timeout_s,
            run_timeout_s=self.settings.run_timeout_s,
        )


def tune(
    settings: Settings, cache: Path, observer: Observer, fresh: bool = False, replace_faster: bool = False
) -> Iterator[Outcome]:
    """Search every workload of `settings` on its device, each winner into `cache`; an outcome as each is done.

    `fresh` starts a new study instead of resuming; `replace_faster` lets a slower
    result replace a cached one. Raises TunerError for what the user can mend, for
    workloads that the problem or the template refuses before the first search.
    A search that was interrupted is the last one; its outcome holds the best so far.
    """
    template, device = resolve.template_and_device(settings)
    for each in asked(settings, template, cache, [device]):
        outcome = tune_one(each, device, observer, Alone(), fresh, replace_faster)
        yield outcome
        if outcome.progress.stopped == "interrupted":
            break


def asked(
    settings: Settings, template: Template, cache: Path, devices: Sequence[str], builds_here: bool = True
) -> list[Asked]:
    """The searches of a config, found to be possible on devices of these kinds as far as nothing has to run on them.

    Raises TunerError for what the user can mend; a missing compiler is none unless kernels are built here.
    """
    if builds_here:
        toolchain.need_toolchain()
    require_writable(cache)
    if settings.warm is not None:
        with settings.blame("warm"):
            warm.configurations(settings.warm)
    store.sweep(cache)
    environment = toolchain.environment()
    problem = resolve.problem_path(settings, template)
    workloads = resolve.workloads(settings, problem, environment)
    with settings.blame("dtype" if settings.dtype else "shapes"):
        for workload in workloads:
            for device in devices:
                template.require_takes(workload.dtypes, settings.variants, device)
    with settings.blame("shapes"):
        _refuse_early(workloads, problem, template, environment)
    return [Asked(settings, template, problem, workload, cache, environment) for workload in workloads]


def _refuse_early(
    workloads: Sequence[Workload], problem: Path, template: Template, environment: Mapping[str, str]
) -> None:
    """Raise the TunerError of the first workload that the problem's Model or the template does not take."""
    with Worker(OpenInspector(problem), environment) as worker:
        for workload in workloads:
            worker.call(RequireWorkload(workload), PREPARE_DEADLINE_S)
            template.facts(workload.init, workload.shapes, {})


def require_writable(cache: Path) -> None:
    """Raise CacheError unless studies and ledgers can be written in `cache`."""
    try:
        runs_folder(cache).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs_folder(cache)) as probe:
            probe.write(b"tuner")
    except OSError as error:
        raise CacheError(
            f"{cache}: the cache cannot be written ({error.strerror}); set TUNER_CACHE_DIR to a folder that can"
        ) from error


def tune_one(
    asked: Asked, device: str, observer: Observer, place: Place, fresh: bool = False, replace_faster: bool = False
) -> Outcome:
    """One search and its final on one device of this host, the winner into the cache. Raises TunerError."""
    observer.stage("starting the measuring process")
    with (
        scratch.subfolder() as folder,
        alone(device, observer.stage),
        closing(Here(asked.job(device), folder, observer, place)) as here,
    ):
        return tune_at(asked, here, observer, fresh, replace_faster)


def alone(device: str, say: Callable[[str], None]) -> AbstractContextManager[object]:
    """Held while a search goes on where another one beside it would be short of memory, and be blamed for that."""
    return DeviceLock(device, say, whole_search=True) if backends.of(device).one_search else nullcontext()


def tune_at(
    asked: Asked, station: Station, observer: Observer, fresh: bool = False, replace_faster: bool = False
) -> Outcome:
    """One search and its final at a station, the winner into the cache. Raises TunerError."""
    settings, template, cache = asked.settings, asked.template, asked.cache
    description = station.describe()
    run = Run(settings, template, asked.problem, asked.workload, station, cache, observer, description)
    run.prepare(fresh)
    progress = run.search(fresh)
    record, notes = run.record(progress), list[str]()
    if record is None:
        return Outcome(asked.workload, progress, None, False, None, notes, run.ledger)
    if progress.stopped != "interrupted":
        try:
            record, notes = _final(run, record, progress)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
    text = run.candidate(record.point).text
    stored = store.put(cache, record, text, replace_faster, template, notes.append)
    folder = store.folder_of(cache, record.environment.slug, record.template, record.workload.slug)
    return Outcome(asked.workload, progress, record, stored, folder, notes, run.ledger)


def _final(run: Run, record: Record, progress: Progress) -> tuple[Record, list[str]]:
    """The record of the winner that the final names, and what a reader should know of it."""
    trials, notes = final.finalists(progress), list[str]()
    try:
        decision = run.station.decide(final.asked(run, trials))
    except NoneHolds as fault:
        notes.append(str(fault))
        trials = final.others(progress, run.space, trials)
        if not trials:
            raise
        run.observer.stage(f"final: {fault}; the best of other kinds are next")
        decision = run.station.decide(final.asked(run, trials))
    record = final.confirmed(run, record, trials, decision)
    outline.write(outline.final_path(run.ledger), final.outlined(record, trials, decision))
    return record, [*notes, *decision.notes]
