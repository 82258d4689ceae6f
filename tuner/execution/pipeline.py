"""The pipeline: a pool that compiles ahead of the measuring lane.

Candidates stream through: written to a file, compiled by the pool, measured in
the order in which they were submitted as far as they are ready.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import DeviceError
from tuner.execution.compilers import Build, Compilers
from tuner.execution.job import Job, candidate_path
from tuner.execution.lane import Lane
from tuner.records import Evaluation, Span, Status
from tuner.template.render import Candidate
from tuner.workers import interruption

SAY_AFTER_S = 5.0  # without a candidate that is compiled
LOOK_EVERY_S = 0.5  # whether anybody still waits


@dataclass(frozen=True)
class UnderWay:
    """A candidate that is to be measured; `leaves` are the operators that its variant leaves to PyTorch."""

    candidate: Candidate
    leaves: tuple[str, ...]
    build: Future[Build]


class Pipeline:
    """Implements `search.Evaluator` on rendered candidates. The pool is whoever's who made it, and outlives this."""

    def __init__(self, job: Job, lane: Lane, folder: Path, floor_ms: float, compilers: Compilers) -> None:
        self.job, self.lane, self.folder, self.floor_ms, self.compilers = job, lane, folder, floor_ms, compilers
        beside = backends.of(job.torch_device).compiles_beside_measuring
        self.capacity = 2 * compilers.size if beside else 1
        self.best_ms: float | None = None
        self.lock = threading.Lock()
        self.under_way: dict[int, UnderWay] = {}
        self.last = 0

    @property
    def waited_s(self) -> float:
        """How long the lane has waited for others to leave the device."""
        return self.lane.lock.waited_s

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...] = ()) -> UnderWay:
        """`leaves` are the operators that its template's variant leaves to PyTorch."""
        begun = UnderWay(candidate, leaves, self.compilers.submit(candidate, self.folder, self.job))
        self.take_over(number, begun)
        return begun

    def take_over(self, number: int, candidate: UnderWay) -> None:
        """Measure what another pipeline has begun."""
        with self.lock:
            self.under_way[number] = candidate

    def give_up(self) -> dict[int, UnderWay]:
        """What was under way here, for other pipelines."""
        with self.lock:
            given_up, self.under_way = self.under_way, {}
        return given_up

    def next(self) -> tuple[int, str, Evaluation]:
        """Measure the oldest candidate that is compiled, waiting when none is; `last` is its number."""
        self.last, ready = self._ready()
        try:
            return self.last, ready.candidate.sha256, self._evaluated(ready)
        finally:
            with self.lock:
                self.under_way.pop(self.last, None)

    def _ready(self) -> tuple[int, UnderWay]:
        since, said = time.monotonic(), False
        while True:
            with self.lock:
                ready = [number for number, each in self.under_way.items() if each.build.done()]
                if ready:
                    return min(ready), self.under_way[min(ready)]
                builds = [each.build for each in self.under_way.values()]
            wait(builds, LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            if not said and time.monotonic() - since >= SAY_AFTER_S:
                self.lane.lock.say(f"waiting for the compiler, which has {len(builds)} candidates")
                said = True
            interruption.check()

    def _evaluated(self, ready: UnderWay) -> Evaluation:
        candidate, build = ready.candidate, ready.build.result()
        if build.failure is not None:
            self._require_space()
            return build.failure.with_spans(build.spans)
        waited_s, turn = self.waited_s, time.time()
        evaluation = self.lane.measure(
            candidate_path(self.folder, candidate), candidate.sha256, self.best_ms, self.floor_ms, ready.leaves
        )
        if evaluation.status is Status.OK:
            self.best_ms = min(evaluation.latency_ms, self.best_ms or evaluation.latency_ms)
            log = evaluation.log  # of a good build only ptxas's figures are worth keeping
        else:
            self._require_space()
            log = f"{build.log[-2000:]}\n{evaluation.log}".strip()
        waited = Span(phase="wait", began=turn, seconds=self.waited_s - waited_s)
        evaluation = evaluation.with_spans((*build.spans, *([waited] if waited.seconds else [])))
        return evaluation.with_build(build.compile_s, build.resources, log)

    def _require_space(self) -> None:
        """Raise DeviceError where a failure says nothing about the candidate: builds and answers lie in the folder."""
        if toolchain.no_space(self.folder):
            raise DeviceError(f"{self.folder}: no space left to build in; free some, or set TMPDIR")

    def close(self) -> None:
        """Let go of what is under way; its compilers are killed."""
        for each in self.give_up().values():
            self.compilers.withdraw(each.build)
