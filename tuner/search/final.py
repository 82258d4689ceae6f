"""The final of a search: its best points and the baselines in turns, then the winner proved in a fresh process."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tuner.errors import DeviceError, TemplateError
from tuner.execution.pipeline import PREPARE_DEADLINE_S, Job, Lane, device_lock
from tuner.execution.worker import Worker, WorkerBug, WorkerFailure
from tuner.measurement.statistics import paired_speedup, summarise
from tuner.records import Comparison, Correctness, Environment, Floor, Record, Status, Trial
from tuner.search.progress import Progress
from tuner.search.ties import simplest_of_ties
from tuner.settings import Settings
from tuner.space import Space
from tuner.template import Template, render

FINALISTS = 8
FINAL_SAMPLES = 100
FINAL_BATCH = 5  # samples in a row; the intervals are drawn over rounds, so there should be many
MIN_SAMPLES = 4  # before a finalist may be dropped
DROPPED = 1.10  # a finalist this far behind the leader after a round is out, so that the rest get more samples


class Observer(Protocol):
    """Told how far the final is."""

    def stage(self, text: str) -> None: ...

    def final(self, done: int, total: int) -> None: ...


def baseline_worker(job: Job, way: str) -> Worker:
    """A process of its own that runs the reference one way."""
    return Worker(
        "tuner.measurement.baselines:Baseline",
        {
            "problem_path": str(job.problem),
            "workload": job.workload.model_dump(mode="json"),
            "torch_device": job.torch_device,
            "seed": job.seed,
            "way": way,
        },
        job.environment,
    )


class Final:
    """The last comparison: the best points and each baseline in turns, some samples at a time."""

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
        self.rounds: list[int] = []  # samples that each contestant gave in each round

    def run(self, record: Record, progress: Progress, space: Space) -> Record:
        """Decide the winner and complete the record with its comparisons.

        Raises DeviceError when no finalist can be measured, TemplateError when none holds.
        """
        ok = [t for t in progress.trials if t.evaluation.status is Status.OK]
        finalists = {str(t.point): t for t in sorted(ok, key=lambda t: t.evaluation.latency_ms)[:FINALISTS]}
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
        winner, correctness = self._confirmed_winner(finalists, space, record.floor)
        others = [n for n in self._ranked(finalists) if n != winner]
        trial = finalists[winner]
        return record.confirmed_by(
            trial,
            render.digest(self.kernel, self.kernel.variant(trial.point.variant)),
            trial.evaluation.confirmed_by(summarise(self.times[winner]), correctness),
            baselines=[self._compared(winner, way) for way in baselines],
            runner_up=self._compared(winner, others[0]) if others else None,
            runner_up_point=finalists[others[0]].point if others else None,
        )

    def _confirmed_winner(
        self, finalists: dict[str, Trial], space: Space, floor: Floor | None
    ) -> tuple[str, Correctness]:
        """The best finalist whose time is believable and that also holds in a fresh process.

        One that does not is taken out of `finalists`.
        """
        while finalists:
            winner = self._winner(finalists, space)
            try:
                self._settle(winner, floor)
                correctness = self._confirm(finalists[winner])
                fault = correctness.fault
            except (WorkerFailure, WorkerBug) as failure:
                fault = _last_line(failure)
            if not fault:
                return winner, correctness
            self.notes.append(f"finalist {winner} left out, it does not hold: {fault}")
            del finalists[winner]
        raise TemplateError(f"{self.kernel.folder}: nothing was cached, no finalist holds: {self.notes[-1]}")

    def _settle(self, winner: str, floor: Floor | None) -> None:
        """Have the process that timed it look at the winner's time and at what it returns by now."""
        self.observer.stage("final: looking at the winner's last output")
        latency_ms, floor_ms = statistics.median(self.times[winner]), floor.floor_ms if floor else 0.0
        with self.lock:
            self.lane.worker.call("settle", PREPARE_DEADLINE_S, name=winner, latency_ms=latency_ms, floor_ms=floor_ms)

    def _path(self, trial: Trial) -> tuple[Path, str]:
        made = render.for_point(self.kernel, trial.point, self.job.workload, self.environment)
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
        except BaseException:  # Ctrl-C: nothing is left behind
            worker.close()
            raise
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
            self.rounds.append(batch)
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
        ranked = self._ranked(finalists)
        fastest = self.times[ranked[0]]
        rows = []
        for name in ranked:
            _, low, _ = paired_speedup(fastest, self.times[name], self.rounds)
            rows.append((finalists[name].point, low))
        return str(simplest_of_ties(rows, space))

    def _ranked(self, finalists: dict[str, Trial]) -> list[str]:
        """By median, of those sampled to the end: who was dropped was sampled under earlier conditions alone."""
        most = max(len(self.times[name]) for name in finalists)
        return sorted(
            (n for n in finalists if len(self.times[n]) == most), key=lambda n: statistics.median(self.times[n])
        )

    def _compared(self, winner: str, other: str) -> Comparison:
        speedup, low, high = paired_speedup(self.times[winner], self.times[other], self.rounds)
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
            with lane.lock:  # it times, too
                answer = lane.worker.call("verify", PREPARE_DEADLINE_S, path=str(path), sha256=sha256, thoroughly=True)
        return Correctness.model_validate(answer)


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
