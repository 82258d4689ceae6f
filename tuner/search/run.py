"""One run of `tuner search`: from settings to cached winners, a search and a final for each workload."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tuner import backends, store, verification
from tuner.backends import toolchain
from tuner.errors import CacheError, ProblemError
from tuner.execution.pipeline import PREPARE_DEADLINE_S, Job, Lane, Pipeline, device_lock, run_folder
from tuner.execution.worker import Worker
from tuner.measurement.conditions import Watch
from tuner.measurement.statistics import summarise
from tuner.records import (
    Environment,
    Evaluation,
    Floor,
    Performance,
    Record,
    Status,
    Trial,
    Workload,
)
from tuner.search import final
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget, Progress
from tuner.settings import Settings, resolve
from tuner.space import Point, Space
from tuner.template import Template, render

HINTS = 4  # cached winners that a search starts from


class Observer(final.Observer, Protocol):
    """Told what happens; the command line shows it."""

    def workload(self, workload: Workload, space: Space, environment: Environment) -> None: ...

    def eager(self, performance: Performance) -> None: ...

    def progress(self, progress: Progress) -> None: ...


@dataclass
class Outcome:
    """What came of one workload. `record` is None when nothing right was found."""

    workload: Workload
    progress: Progress
    record: Record | None
    stored: bool
    folder: Path | None  # of the cache entry
    notes: list[str]  # what went wrong on the way and did not matter


def tune(
    settings: Settings, cache: Path, observer: Observer, fresh: bool = False, replace_faster: bool = False
) -> Iterator[Outcome]:
    """Search every workload of `settings` and put each winner into `cache`; an outcome as each is done.

    `fresh` starts a new study instead of resuming; `replace_faster` lets a slower
    result replace a cached one. Raises TunerError for what the user can mend, for
    workloads that the problem or the template refuses before the first search.
    A search that was interrupted is the last one; its outcome holds the best so far.
    """
    kernel, torch_device = resolve.template_and_device(settings)
    toolchain.need_toolchain()
    runs_folder(cache)
    store.sweep(cache)
    environment = toolchain.environment()
    problem = resolve.problem_path(settings, kernel)
    wanted = resolve.workloads(settings, problem, environment)
    with settings.blame("shapes"):
        _refuse_early(wanted, problem, kernel, environment)
    for workload in wanted:
        job = Job(
            problem=problem,
            workload=workload,
            torch_device=torch_device,
            capability=None,
            seed=secrets.randbits(31),
            error_budget=settings.error_budget,
            compile_timeout_s=settings.compile_timeout_s,
            run_timeout_s=settings.run_timeout_s,
            environment=environment,
        )
        outcome = _tune_one(settings, kernel, job, cache, observer, fresh, replace_faster)
        yield outcome
        if outcome.progress.stopped == "interrupted":
            break


def _refuse_early(wanted: Sequence[Workload], problem: Path, kernel: Template, environment: dict[str, str]) -> None:
    """Raise the TunerError of the first workload that the problem's Model or the template does not take."""
    with Worker("tuner.measurement.session:Inspector", {"problem_path": str(problem)}, environment) as worker:
        for workload in wanted:
            worker.call("check", PREPARE_DEADLINE_S, workload=workload.model_dump(mode="json"))
            kernel.facts(workload.init, workload.shapes, {})


def runs_folder(cache: Path) -> Path:
    """Where studies and ledgers lie, in the cache. Raises CacheError when nothing can be written there."""
    runs = cache / ".runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs) as probe:
            probe.write(b"tuner")
    except OSError as error:
        raise CacheError(
            f"{cache}: the cache cannot be written ({error.strerror}); set TUNER_CACHE_DIR to a folder that can"
        ) from error
    return runs


def _tune_one(
    settings: Settings, kernel: Template, job: Job, cache: Path, observer: Observer, fresh: bool, replace_faster: bool
) -> Outcome:
    with run_folder() as folder:
        observer.stage("starting the measuring process")
        backend = backends.of(job.torch_device)
        watch = Watch(backend)
        lane = Lane(job, folder)
        try:
            described = lane.describe()
            environment = Environment.model_validate(described["environment"])
            floor = Floor.model_validate(described["floor"])
            facts = kernel.facts(job.workload.init, job.workload.shapes, backend.limits(environment))
            space = kernel.space(backend.kind, facts, settings.variants, settings.knobs)
            job = replace(job, capability=backend.target(environment))
            observer.workload(job.workload, space, environment)
            observer.stage("computing the float64 oracle and the reference's own error")
            lane.prepare()
            runs = runs_folder(cache)
            _self_check(job, lane, runs, environment, described["problem_sha256"], observer)
            _quick_eager(job, observer)
            name = study_name(settings, kernel, job.workload, environment, described["problem_sha256"])
            ledger = Ledger(runs / f"{name}.jsonl")
            if fresh:
                for old in runs.glob(f"{name}.*"):
                    old.unlink()
            hints = _known_points(kernel, job.workload, environment, cache)
            search = Search(space, settings.sampler, settings.seed, runs / f"{name}.sqlite3", name, ledger, hints)
            progress = _search(settings, kernel, job, lane, folder, floor, environment, search, observer)
            notes: list[str] = []
            best = progress.best
            if best is None:
                return Outcome(job.workload, progress, None, False, None, notes)
            record = _record(settings, kernel, job, environment, floor, progress, best, described["problem_sha256"])
            if progress.stopped != "interrupted":
                try:
                    last = final.Final(settings, kernel, job, lane, folder, environment, observer)
                    with watch:
                        record = last.run(record, progress, space)
                    record = record.measured_under(watch.conditions())
                    notes = last.notes + watch.notes()
                    if not backend.steady_ceilings:  # the better of two readings, minutes apart
                        again = Floor.model_validate(lane.describe()["floor"])
                        record = record.with_floor(min(again, floor, key=lambda f: f.floor_ms))
                except KeyboardInterrupt:
                    progress.stopped = "interrupted"
            text = render.for_point(kernel, record.point, record.workload, environment).text
        finally:
            lane.close()
    stored = store.put(cache, record, text, replace_faster, kernel, notes.append)
    return Outcome(
        job.workload,
        progress,
        record,
        stored,
        store.folder_of(cache, record.environment.slug, record.template, record.workload.slug),
        notes,
    )


def _self_check(
    job: Job, lane: Lane, runs: Path, environment: Environment, problem_sha256: str, observer: Observer
) -> None:
    """Raise ProblemError unless the suite rejects every wrong model of this problem; remembered in `runs`."""
    meaning = {
        "problem": problem_sha256,
        "workload": job.workload.model_dump(mode="json"),
        "environment": environment.model_dump(mode="json"),
        "error_budget": job.error_budget,
        "suite": _suite_text(),
    }
    key = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
    done = runs / f"self-check-{key}.json"
    if done.exists():
        return
    observer.stage("sending wrong models through the suite")
    found = lane.self_check()
    if found["missed"]:
        raise ProblemError(
            f"{job.problem}: the suite cannot judge this problem: it finds nothing wrong with "
            f"{', '.join(found['missed'])} (error_budget is {job.error_budget:g})"
        )
    done.write_text(json.dumps(found, indent=2))


def _known_points(kernel: Template, workload: Workload, environment: Environment, cache: Path) -> list[Point]:
    """Points of cached winners, those for the likest device and workload first: a start, never a result.

    A winner carried to another GPU keeps 58 to 100 % of what is possible there, by published measurements.
    """
    digests = store.Digests(kernel)
    roots = {root.resolve(): root for root in (cache, store.shipped_cache())}.values()
    found = [each for root in roots for each in store.nearest(root, digests, workload, environment)]
    found.sort(key=lambda each: len(store.differences(each[1], each[2])))
    return list(dict.fromkeys(entry.record.point for entry, _, _ in found))[:HINTS]


def _suite_text() -> list[str]:
    """What judges a candidate, to the letter: with another suite, what it once said means something else."""
    return [path.read_text() for path in sorted(Path(verification.__file__).parent.rglob("*.py"))]


def _quick_eager(job: Job, observer: Observer) -> None:
    """Eager's time by a few samples, for the screen; the final measures it properly."""
    observer.stage("timing eager")
    with contextlib.closing(final.baseline_worker(job, "eager")) as worker, device_lock(job.torch_device):
        worker.call("warm", PREPARE_DEADLINE_S)
        observer.eager(summarise(worker.call("sample", PREPARE_DEADLINE_S, count=3)))


def _search(
    settings: Settings,
    kernel: Template,
    job: Job,
    lane: Lane,
    folder: Path,
    floor: Floor,
    environment: Environment,
    search: Search,
    observer: Observer,
) -> Progress:
    pool_size = backends.of(job.torch_device).compile_processes()
    pipeline = Pipeline(job, lane, folder, floor.floor_ms, pool_size)
    pipeline.best_ms = search.progress.best_ms

    class Rendering:
        """The pipeline as the search sees it: points in, evaluations out."""

        capacity = pipeline.capacity

        def submit(self, number: int, point: Point) -> None:
            pipeline.submit(number, render.for_point(kernel, point, job.workload, environment))

        def next(self) -> tuple[int, str, Evaluation]:
            return pipeline.next()

    budget = Budget(settings.trials, settings.time_budget_s, settings.patience)
    observer.stage("searching")
    try:
        return search.run(Rendering(), budget, observer.progress)
    finally:
        pipeline.close()


def study_name(
    settings: Settings, kernel: Template, workload: Workload, environment: Environment, problem_sha256: str
) -> str:
    """Name of the study: whatever would make a measured trial mean something else changes it."""
    variants = [v for v in kernel.variants if v.device == environment.device_kind]
    meaning = {
        "workload": workload.model_dump(mode="json"),
        "environment": environment.model_dump(mode="json"),
        "problem": problem_sha256,
        "variants": {v.name: [render.digest(kernel, v), repr(v.knobs)] for v in variants},
        "only": settings.variants,
        "knobs": settings.knobs,
        "sampler": settings.sampler,
        "seed": settings.seed,
        "error_budget": settings.error_budget,
        "suite": _suite_text(),
    }
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).hexdigest()
    return f"{kernel.name}-{digest[:16]}"


def _record(
    settings: Settings,
    kernel: Template,
    job: Job,
    environment: Environment,
    floor: Floor,
    progress: Progress,
    best: Trial,
    problem_sha256: str,
) -> Record:
    counts = {Status.OK.value: len(progress.trials) - sum(progress.failures.values()), **progress.failures}
    counts |= {f"rejected: {rule}": n for rule, n in progress.rejected.items()}
    return Record(
        template=kernel.name,
        template_digest=render.digest(kernel, kernel.variant(best.point.variant)),
        problem_sha256=problem_sha256,
        workload=job.workload,
        point=best.point,
        candidate_sha256=best.candidate_sha256,
        environment=environment,
        error_budget=settings.error_budget,
        evaluation=best.evaluation,
        confirmed=False,  # until the final has said so
        floor=floor,
        trials=counts,
        seed=settings.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
