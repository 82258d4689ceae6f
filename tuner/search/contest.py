"""The contest of a final: its finalists and the baselines in turns, some samples at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.errors import DeviceError
from tuner.execution.examination import Examination, Failed
from tuner.execution.job import PREPARE_DEADLINE_S, candidate_path
from tuner.execution.lane import Lane
from tuner.measurement.protocol import BaselineService, BenchService, SampleBaseline, WarmBaseline
from tuner.measurement.statistics import Untrusted
from tuner.search.samples import Samples
from tuner.search.ties import Simplicity
from tuner.template.render import Candidate
from tuner.verification.papers import Values
from tuner.workers.worker import Worker, WorkerBug, WorkerFailure

SAMPLES = 100
BATCH = 5  # samples in a row; the intervals are drawn over rounds, so there should be many
MIN_SAMPLES = 4  # before a finalist may be dropped
MARKED_SAMPLES = 3  # of which one answer is marked
FINAL_DEADLINE_S = 3600.0  # a final has a budget of its own; this ends one that hangs
FAILURES = (Failed, Untrusted, WorkerFailure, WorkerBug)
DROPPED = 1.10  # a finalist this far behind the leader after a round is out, so that the rest get more samples


class Told(Protocol):
    """Who is told how a final goes."""

    def stage(self, text: str) -> None:
        """What is done now, a line."""

    def final(self, done: int, total: int) -> None:
        """How many samples each contestant has, of how many."""


@dataclass(frozen=True)
class Finalist:
    """One of the best points, by the text of the point; `leaves` are the operators that it leaves to PyTorch."""

    name: str
    candidate: Candidate
    leaves: tuple[str, ...]
    simplicity: Simplicity


class Contest:
    """Contestants by name: finalists on one bench or each on its own, baselines in processes of their own.

    Whoever fails is left out, and a note says so.
    """

    def __init__(self, lane: Lane, folder: Path, told: Told) -> None:
        self.lane, self.folder, self.told = lane, folder, told
        self.finalists: dict[str, Finalist] = {}
        self.seats: dict[str, Examination] = {}
        self.benches: list[Worker[BenchService]] = []
        self.baselines: dict[str, Worker[BaselineService]] = {}
        self.samples = Samples()
        self.notes: list[str] = []

    def close(self) -> None:
        """End all processes."""
        for bench in self.benches:
            bench.close()
        self.end_baselines()

    def end_baselines(self) -> None:
        """End the baselines' processes; their samples stay."""
        for worker in self.baselines.values():
            worker.close()

    def rest(self) -> None:
        """Free the device's memory for what comes next; the samples stay."""
        for bench in self.benches:
            bench.stop()
        self.lane.rest()

    # ---- entering ---------------------------------------------------------------------------------

    def enter(self, finalists: Sequence[Finalist]) -> None:
        """Load the finalists, anew if they were. Raises DeviceError when none can be."""
        self.finalists = {finalist.name: finalist for finalist in finalists}
        while self.finalists and (failed := self._load_all()) is not None:
            del self.finalists[failed]
        if not self.finalists:
            raise DeviceError(f"no finalist could be loaded again: {self.notes[-1]}")

    def _load_all(self) -> str | None:
        """The first finalist that fails to load, noted; it may have taken the device along, so all load again."""
        for bench in self.benches:
            bench.close()
        self.benches, self.seats = [], {}
        for name, finalist in self.finalists.items():
            if self.lane.backend.fresh_benches or not self.benches:
                self.benches.append(self.lane.new_bench())
            candidate, path = finalist.candidate, self.path(finalist)
            path.write_text(candidate.text)
            sides = self.lane.sides(self.benches[-1], time.monotonic() + FINAL_DEADLINE_S)
            self.seats[name] = Examination(sides, name, path, candidate.sha256)
            try:
                self.seats[name].load()
                self.seats[name].launch()
                self.seats[name].samples(MARKED_SAMPLES, Values.MARKED)
            except FAILURES as failure:
                self.notes.append(f"finalist {name} left out: {last_line(failure)}")
                return name
        return None

    def leave_out(self, name: str) -> None:
        """The others enter again. Raises DeviceError when none of them can be loaded."""
        others = self._without(name)
        self.finalists = {}
        if others:
            self.enter(others)

    def _without(self, name: str) -> list[Finalist]:
        return [finalist for other, finalist in self.finalists.items() if other != name]

    def path(self, finalist: Finalist) -> Path:
        """Its file, once it has entered."""
        return candidate_path(self.folder, finalist.candidate)

    def enter_baseline(self, way: str) -> None:
        worker = self.baselines[way] = Worker(self.lane.job.baseline(way), self.lane.job.environment)
        self.told.stage(f"final: warming up {way}")
        try:
            with self.lane.lock:
                worker.call(WarmBaseline(), PREPARE_DEADLINE_S)
        except (WorkerFailure, WorkerBug) as failure:
            self.notes.append(f"baseline {way} left out: {last_line(failure)}")
            self.baselines.pop(way).close()

    # ---- sampling ---------------------------------------------------------------------------------

    def sample(self, budget_s: float) -> None:
        """Rounds over all contestants until each has its samples or the time is up; at least two rounds."""
        self.told.stage("final: sampling")
        standing = list(self.finalists)  # not dropped
        self.samples.times = {name: [] for name in [*standing, *self.baselines]}
        started = time.monotonic()
        batch, taken = 2, 0
        while taken < SAMPLES:
            round_started = time.monotonic()
            for name in self._contestants(standing):
                self.samples.times[name] += self._taken(name, batch)
            standing = [name for name in standing if name in self.finalists]
            taken += batch
            self.samples.rounds.append(batch)
            now = time.monotonic()
            self.told.final(taken, SAMPLES)
            if taken > batch and now - started + (now - round_started) > budget_s:
                break
            if now - round_started < budget_s / 20:
                batch = min(BATCH, SAMPLES - taken)
            if taken >= MIN_SAMPLES:
                standing = self._kept(standing)

    def _contestants(self, standing: list[str]) -> Iterator[str]:
        """Those that are still there when their turn comes."""
        for name in [*standing, *list(self.baselines)]:
            if name in self.finalists or name in self.baselines:
                yield name

    def _kept(self, standing: list[str]) -> list[str]:
        """The first two, and all that are near the leader."""
        ranked = sorted(standing, key=self.samples.median_ms)
        near = [name for name in ranked if self.samples.median_ms(name) <= DROPPED * self.samples.median_ms(ranked[0])]
        return [name for name in standing if name in ranked[:2] or name in near]

    def _taken(self, name: str, count: int) -> list[float]:
        """Timings of one contestant in ms; none when it fails."""
        try:
            if name in self.baselines:
                with self.lane.lock:
                    return self.baselines[name].call(SampleBaseline(count), PREPARE_DEADLINE_S)
            return self.seats[name].samples(count + 1, Values.FRESH)[1:]
        except FAILURES as failure:
            self.notes.append(f"{name} left out of the final: {last_line(failure)}")
        if name in self.baselines:
            self.baselines.pop(name).close()
        elif not self.lane.backend.fresh_benches:
            self.enter(self._without(name))  # it may have taken the device along
        else:
            del self.finalists[name]
            if not self.finalists:
                raise DeviceError(f"no finalist could be measured again: {self.notes[-1]}")
        return []


def last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
