"""One run of `tuner search`: from settings to cached winners, a search and a final for each workload."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tuner import device, render, store, template
from tuner.comparison import paired_speedup, summarise
from tuner.conditions import Watch
from tuner.errors import CacheError, DeviceError, ProblemError, TemplateError
from tuner.ledger import Ledger
from tuner.pipeline import PREPARE_DEADLINE_S, Job, Lane, Pipeline, device_lock, run_folder
from tuner.records import (
    Comparison,
    Correctness,
    Environment,
    Evaluation,
    Floor,
    Performance,
    Record,
    Status,
    TensorSpec,
    Trial,
    Workload,
)
from tuner.search import Budget, Progress, Search, simplest_of_ties
from tuner.settings import Settings
from tuner.space import Config, Space
from tuner.template import Template
from tuner.worker import Worker, WorkerBug, WorkerFailure

FINALISTS = 8
FINAL_SAMPLES = 100
FINAL_BATCH = 10
MIN_SAMPLES = 4  # before a finalist may be dropped
DROPPED = 1.10  # a finalist this far behind the leader after a round is out, so that the rest get more samples


class Observer(Protocol):
    """Told what happens; the command line shows it."""

    def stage(self, text: str) -> None: ...

    def workload(self, workload: Workload, space: Space, environment: Environment) -> None: ...

    def eager(self, performance: Performance) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def final(self, done: int, total: int) -> None: ...


@dataclass
class Outcome:
    """What came of one workload. `record` is None when nothing right was found."""

    workload: Workload
    progress: Progress
    record: Record | None
    stored: bool
    folder: Path | None  # of the cache entry
    notes: list[str]  # what went wrong on the way and did not matter


def problem_path(settings: Settings, kernel: Template) -> Path:
    return settings.problem or kernel.problem


def workloads(settings: Settings, problem: Path, environment: dict[str, str]) -> list[Workload]:
    """The workloads that a config asks for; what it leaves out is the problem's own."""
    shapes = settings.input_shapes
    init: Sequence[Any] | None = settings.init
    if shapes is None or init is None:
        with Worker("tuner.evaluate:Inspector", {"problem_path": str(problem)}, environment) as worker:
            own = Workload.model_validate(worker.call("workload", PREPARE_DEADLINE_S))
        shapes = shapes or (own.shapes,)
        init = own.init if init is None else init
    return [
        Workload(
            init=tuple(init),
            inputs=tuple(TensorSpec(shape=shape, dtype=settings.dtype) for shape in inputs),
            precision=settings.precision,
        )
        for inputs in shapes
    ]


def here(torch_device: str, toolchain: dict[str, str]) -> Environment:
    """The environment of this machine's device, asked of a worker process (this one never loads torch)."""
    with Worker("tuner.evaluate:Here", {}, toolchain) as worker:
        return Environment.model_validate(worker.call("environment", PREPARE_DEADLINE_S, torch_device=torch_device))


def tune(
    settings: Settings, cache: Path, observer: Observer, fresh: bool = False, replace_faster: bool = False
) -> list[Outcome]:
    """Search every workload of `settings` and put each winner into `cache`.

    `fresh` starts a new study instead of resuming; `replace_faster` lets a slower
    result replace a cached one. Raises TunerError for what the user can mend.
    A search that was interrupted is the last one; its outcome holds the best so far.
    """
    kernel = template.find(settings.template, Path.cwd())
    torch_device = device.resolve(settings.device)
    device.need_toolchain()
    runs_folder(cache)
    store.sweep(cache)
    environment = device.toolchain_environment()
    problem = problem_path(settings, kernel)
    outcomes = []
    for workload in workloads(settings, problem, environment):
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
        outcomes.append(_tune_one(settings, kernel, job, cache, observer, fresh, replace_faster))
        if outcomes[-1].progress.stopped == "interrupted":
            break
    return outcomes


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
        watch = Watch(job.torch_device)
        lane = Lane(job, folder)
        try:
            described = lane.describe()
            environment = Environment.model_validate(described["environment"])
            floor = Floor.model_validate(described["floor"])
            kind = environment.device_kind
            facts = kernel.facts(job.workload.init, job.workload.shapes, device.limits(environment))
            space = kernel.space(kind, facts, settings.variants, settings.knobs)
            job = replace(job, capability=environment.capability if kind == "cuda" else None)
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
            search = Search(space, settings.sampler, settings.seed, runs / f"{name}.sqlite3", name, ledger)
            progress = _search(settings, kernel, job, lane, folder, floor, environment, search, observer)
            notes: list[str] = []
            best = progress.best
            if best is None:
                return Outcome(job.workload, progress, None, False, None, notes)
            record = _record(settings, kernel, job, environment, floor, progress, best, described["problem_sha256"])
            unconfirmed = record.model_copy(update={"confirmed": False})
            if progress.stopped != "interrupted":
                try:
                    final = Final(settings, kernel, job, lane, folder, environment, observer)
                    with watch:
                        record = final.run(record, progress, space)
                    record = record.model_copy(update={"conditions": watch.conditions()})
                    notes = final.notes + watch.notes()
                    if kind == "cpu":
                        # Ceilings read beside other processes come out low: the better of two readings, minutes apart.
                        again = Floor.model_validate(lane.describe()["floor"])
                        record = record.model_copy(update={"floor": min(again, floor, key=lambda f: f.floor_ms)})
                except KeyboardInterrupt:
                    progress.stopped = "interrupted"
            if progress.stopped == "interrupted":
                record = unconfirmed
            text = candidate(kernel, record.point.config, record.workload, environment).text
        finally:
            lane.close()
    stored = store.put(cache, record, text, replace=replace_faster)
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
        "suite": [Path(__file__).with_name(f"{name}.py").read_text() for name in ("verify", "thorough", "wrong")],
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


def _quick_eager(job: Job, observer: Observer) -> None:
    """Eager's time by a few samples, for the screen; the final measures it properly."""
    observer.stage("timing eager")
    with contextlib.closing(baseline_worker(job, "eager")) as worker, device_lock(job.torch_device):
        worker.call("warm", PREPARE_DEADLINE_S)
        observer.eager(summarise(worker.call("sample", PREPARE_DEADLINE_S, count=3)))


def baseline_worker(job: Job, way: str) -> Worker:
    """A process of its own that runs the reference one way."""
    return Worker(
        "tuner.evaluate:Baseline",
        {
            "problem_path": str(job.problem),
            "workload": job.workload.model_dump(mode="json"),
            "torch_device": job.torch_device,
            "seed": job.seed,
            "way": way,
        },
        job.environment,
    )


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
    pool_size = max(1, min(16, (os.cpu_count() or 2) - 1))
    pipeline = Pipeline(job, lane, folder, floor.floor_ms, pool_size)
    best = search.progress.best
    pipeline.best_ms = best.evaluation.latency_ms if best else None

    class Rendering:
        """The pipeline as the search sees it: points in, evaluations out."""

        capacity = pipeline.capacity

        def submit(self, number: int, config: Config) -> None:
            pipeline.submit(number, candidate(kernel, config, job.workload, environment))

        def next(self) -> tuple[int, str, Evaluation]:
            return pipeline.next()

    budget = Budget(settings.trials, settings.time_budget_s, settings.patience)
    observer.stage("searching")
    try:
        return search.run(Rendering(), budget, observer.progress)
    finally:
        pipeline.close()


def candidate(kernel: Template, config: Config, workload: Workload, environment: Environment) -> render.Candidate:
    """The file of one point for one workload on this device."""
    return render.candidate(kernel, [render.tuned_for(config, workload, environment)])


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
        floor=floor,
        trials=counts,
        seed=settings.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


class Final:
    """The last comparison: the best points, eager and compiled, interleaved sample by sample."""

    def __init__(
        self,
        settings: Settings,
        kernel: Template,
        job: Job,
        lane: Lane,
        folder: Path,
        environment: Environment,
        observer: Observer,
    ) -> None:
        self.settings, self.kernel, self.job, self.lane = settings, kernel, job, lane
        self.folder, self.environment, self.observer = folder, environment, observer
        self.lock = device_lock(job.torch_device)
        self.notes: list[str] = []
        self.times: dict[str, list[float]] = {}

    def run(self, record: Record, progress: Progress, space: Space) -> Record:
        """Decide the winner and complete the record with its comparisons."""
        ok = [t for t in progress.trials if t.evaluation.status is Status.OK]
        finalists = {str(t.point.config): t for t in sorted(ok, key=lambda t: t.evaluation.latency_ms)[:FINALISTS]}
        self.observer.stage(
            f"final: {len(finalists)} finalists and {', '.join(self.settings.baselines) or 'no baselines'}"
        )
        baselines: dict[str, Worker] = {}
        try:
            finalists = self._enter(finalists)
            if not finalists:
                raise DeviceError(f"no finalist could be loaded again: {self.notes[0]}")
            for way in self.settings.baselines:
                worker = self._baseline(way)
                if worker is not None:
                    baselines[way] = worker
            self._rounds(finalists, baselines)
        finally:
            for worker in baselines.values():
                worker.close()
        winner, correctness = self._confirmed_winner(finalists, space)
        others = sorted((n for n in finalists if n != winner), key=lambda n: statistics.median(self.times[n]))
        trial = finalists[winner]
        evaluation = trial.evaluation.model_copy(
            update={"performance": summarise(self.times[winner]), "correctness": correctness}
        )
        return record.model_copy(
            update={
                "point": trial.point,
                "template_digest": render.digest(self.kernel, self.kernel.variant(trial.point.variant)),
                "candidate_sha256": trial.candidate_sha256,
                "evaluation": evaluation,
                "baselines": tuple(self._compared(winner, way) for way in baselines),
                "runner_up": self._compared(winner, others[0]) if others else None,
                "runner_up_point": finalists[others[0]].point if others else None,
            }
        )

    def _confirmed_winner(self, finalists: dict[str, Trial], space: Space) -> tuple[str, Correctness]:
        """The best finalist that also holds in a fresh process; one that does not is taken out of `finalists`."""
        while finalists:
            winner = self._winner(finalists, space)
            try:
                correctness = self._confirm(finalists[winner])
            except WorkerFailure as failure:
                fault = str(failure)
            else:
                wrong = next((case for case in correctness.cases if not case.ok), None)
                if wrong is None:
                    return winner, correctness
                fault = f"case {wrong.name}: {wrong.detail}"
            self.notes.append(f"finalist {winner} left out, it failed in a fresh process: {fault}")
            del finalists[winner]
        raise TemplateError(f"{self.kernel.folder}: nothing was cached, no finalist holds: {self.notes[-1]}")

    def _path(self, trial: Trial) -> tuple[Path, str]:
        made = candidate(self.kernel, trial.point.config, self.job.workload, self.environment)
        path = self.folder / f"{made.sha256}.py"
        path.write_text(made.text)
        return path, made.sha256

    def _enter(self, finalists: dict[str, Trial]) -> dict[str, Trial]:
        entered = {}
        for name, trial in finalists.items():
            path, sha256 = self._path(trial)
            try:
                self.lane.prepare()
                with self.lock:
                    self.lane.worker.call("enter", PREPARE_DEADLINE_S, name=name, path=str(path), sha256=sha256)
                entered[name] = trial
            except (WorkerFailure, WorkerBug) as failure:
                self.notes.append(f"finalist {name} left out: {_last_line(failure)}")
                self.lane.worker.stop()  # it may have taken the device along: load the others again without it
                return self._enter({n: t for n, t in finalists.items() if n != name})
        return entered

    def _baseline(self, way: str) -> Worker | None:
        worker = baseline_worker(self.job, way)
        self.observer.stage(f"final: warming up {way}")
        try:
            with self.lock:
                worker.call("warm", PREPARE_DEADLINE_S)
        except (WorkerFailure, WorkerBug) as failure:
            self.notes.append(f"baseline {way} left out: {_last_line(failure)}")
            worker.close()
            return None
        return worker

    def _sample(self, name: str, entered: dict[str, Trial], baselines: dict[str, Worker], count: int) -> list[float]:
        """Timings of one contestant in ms; none when it fails, and it is left out from then on."""
        worker = baselines.get(name, self.lane.worker)
        try:
            with self.lock:
                if name in baselines:
                    times = worker.call("sample", PREPARE_DEADLINE_S, count=count)
                else:
                    times = worker.call("sample", PREPARE_DEADLINE_S, name=name, count=count)
                return list(times)
        except (WorkerFailure, WorkerBug) as failure:
            self.notes.append(f"{name} left out of the final: {_last_line(failure)}")
        if name in baselines:
            baselines.pop(name).close()
            return []
        del entered[name]
        worker.stop()  # it may have taken the device along: load the others again without it
        for other in set(entered) - set(self._enter(dict(entered))):
            del entered[other]
        if not entered:
            raise DeviceError(f"no finalist could be measured again: {self.notes[-1]}")
        return []

    def _rounds(self, entered: dict[str, Trial], baselines: dict[str, Worker]) -> None:
        """Rounds over all contestants until each has its samples or the time is up; at least two rounds.

        Whoever fails is taken out of `entered` or `baselines`.
        """
        self.observer.stage("final: sampling")
        finalists = list(entered)
        names = [*finalists, *baselines]
        self.times = {name: [] for name in names}
        started = time.monotonic()
        batch, taken = 2, 0
        while taken < FINAL_SAMPLES:
            round_started = time.monotonic()
            for name in names:
                if name in entered or name in baselines:
                    self.times[name] += self._sample(name, entered, baselines, batch)
            finalists = [name for name in finalists if name in entered]
            names = [*finalists, *baselines]
            taken += batch
            now = time.monotonic()
            self.observer.final(taken, FINAL_SAMPLES)
            if taken > batch and now - started + (now - round_started) > self.settings.final_budget_s:
                break
            if now - round_started < self.settings.final_budget_s / 20:
                batch = min(FINAL_BATCH, FINAL_SAMPLES - taken)
            if taken < MIN_SAMPLES:
                continue
            lead = min(statistics.median(self.times[name]) for name in finalists)
            ranked = sorted(finalists, key=lambda name: statistics.median(self.times[name]))
            kept = [n for i, n in enumerate(ranked) if i < 2 or statistics.median(self.times[n]) <= DROPPED * lead]
            finalists = [name for name in finalists if name in kept]
            names = [*finalists, *baselines]

    def _winner(self, finalists: dict[str, Trial], space: Space) -> str:
        ranked = sorted(finalists, key=lambda name: statistics.median(self.times[name]))
        fastest = self.times[ranked[0]]
        close = DROPPED * statistics.median(fastest)  # whoever was dropped has too few samples to tie
        rows = []
        for name in (n for n in ranked if statistics.median(self.times[n]) <= close):
            _, low, _ = paired_speedup(fastest, self.times[name])
            rows.append((finalists[name].point.config, low))
        return str(simplest_of_ties(rows, space))

    def _compared(self, winner: str, other: str) -> Comparison:
        speedup, low, high = paired_speedup(self.times[winner], self.times[other])
        return Comparison(
            name=other,
            performance=summarise(self.times[other]),
            speedup=speedup,
            speedup_low=low,
            speedup_high=high,
        )

    def _confirm(self, trial: Trial) -> Correctness:
        """Every case there is for one finalist, in a fresh process and with fresh values."""
        self.observer.stage("final: verifying the winner in a fresh process")
        path, sha256 = self._path(trial)
        with contextlib.closing(Lane(replace(self.job, seed=secrets.randbits(31)), self.folder)) as lane:
            lane.prepare()
            answer = lane.worker.call("verify", PREPARE_DEADLINE_S, path=str(path), sha256=sha256, thoroughly=True)
        return Correctness.model_validate(answer)


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
