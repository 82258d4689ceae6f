"""Where a search measures: the device of this host that it has, or those of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tuner import backends
from tuner.execution.compilers import Compilers
from tuner.execution.job import PREPARE_DEADLINE_S, Job
from tuner.execution.lane import Lane
from tuner.execution.pipeline import Pipeline
from tuner.measurement.conditions import Watch
from tuner.measurement.protocol import Description, SampleBaseline, SelfCheckAnswer, WarmBaseline
from tuner.measurement.statistics import summarise
from tuner.records import Evaluation, Performance
from tuner.search.contest import Told
from tuner.search.deciding import Decision, Final, decide
from tuner.template.render import Candidate
from tuner.workers.worker import Worker

EAGER_SAMPLES = 3


class Measuring(Protocol):
    """Measures candidates; several may be under way, each result comes back once."""

    @property
    def capacity(self) -> int:
        """How many candidates it wants under way at once."""

    @property
    def waited_s(self) -> float:
        """Seconds so far in which nothing could be measured, for others used the device."""

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...] = ()) -> object:
        """`leaves` are the operators that its template's variant leaves to PyTorch."""

    def next(self) -> tuple[int, str, Evaluation]:
        """Wait for a result: (number, the candidate's sha256, its evaluation)."""


class Station(Protocol):
    """One problem and workload, where it is measured. Whatever is asked may raise DeviceFailed."""

    def describe(self) -> Description:
        """Environment, problem's hash, floor. Raises the TunerError that names what is wrong with the problem."""

    def build_ahead(self, candidates: Sequence[Candidate]) -> None:
        """Begin to compile what will be measured first, where that disturbs nothing."""

    def prepare(self) -> None:
        """Have the oracle and the reference's error computed."""

    def self_check(self) -> SelfCheckAnswer:
        """What became of the mutants that the suite was sent."""

    def eager(self) -> Performance:
        """A few samples of eager, for the screen; the final measures it properly."""

    def trials(self, floor_ms: float, best_ms: float | None) -> AbstractContextManager[Measuring]:
        """Who measures trials; `best_ms` is the best so far."""

    def decide(self, final: Final) -> Decision:
        """Hold a final, on one device."""


class Place(Protocol):
    """What a search on a device of this host finds there."""

    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        """The pool, for as long as the trials last."""

    def trials(self, here: Here, pipeline: Pipeline) -> AbstractContextManager[Measuring]:
        """Who measures: the pipeline of the search's own device, or that one and others."""


class Alone:
    """One device, and a pool for this search alone."""

    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        size = backends.of(job.torch_device).compile_processes()
        return contextlib.closing(Compilers(size, job.environment, job.torch_device))

    def trials(self, here: Here, pipeline: Pipeline) -> AbstractContextManager[Pipeline]:
        return contextlib.closing(pipeline)


class Here:
    """Implements `Station` on a device of this host; candidates build in `folder`."""

    def __init__(self, job: Job, folder: Path, told: Told, place: Place) -> None:
        self.job, self.folder, self.told, self.place = job, folder, told, place
        self.watch = Watch(backends.of(job.torch_device))
        self.lane = Lane(job, folder, told.stage)
        self.stack = contextlib.ExitStack()
        self.compilers: Compilers | None = None

    def describe(self) -> Description:
        description = self.lane.describe()
        target = backends.of(self.job.torch_device).target(description.environment)
        self.job = self.lane.job = replace(self.job, capability=target)
        return description

    def build_ahead(self, candidates: Sequence[Candidate]) -> None:
        if not self.lane.backend.compiles_beside_measuring:
            return
        self.compilers = self.stack.enter_context(self.place.compilers(self.job))
        for candidate in candidates:
            self.compilers.begin(candidate, self.folder, self.job)

    def prepare(self) -> None:
        self.lane.prepare()

    def self_check(self) -> SelfCheckAnswer:
        return self.lane.self_check()

    def eager(self) -> Performance:
        with Worker(self.job.baseline("eager"), self.job.environment) as worker, self.lane.lock:
            worker.call(WarmBaseline(), PREPARE_DEADLINE_S)
            return summarise(worker.call(SampleBaseline(EAGER_SAMPLES), PREPARE_DEADLINE_S))

    @contextlib.contextmanager
    def trials(self, floor_ms: float, best_ms: float | None) -> Iterator[Measuring]:
        given = contextlib.nullcontext(self.compilers) if self.compilers else self.place.compilers(self.job)
        with given as compilers:
            pipeline = Pipeline(self.job, self.lane, self.folder, floor_ms, compilers)
            pipeline.best_ms = best_ms
            with self.place.trials(self, pipeline) as measuring:
                yield measuring

    def decide(self, final: Final) -> Decision:
        return decide(final, self.lane, self.folder, self.told, self.watch)

    def close(self) -> None:
        self.stack.close()
        self.lane.close()
