"""The device of a worker of a cluster: what coordinators ask for is done here, in processes that this one starts.

A worker keeps nothing that a coordinator would miss: whatever is open for a subject is opened again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import TunerError
from tuner.execution.compilers import Compilers
from tuner.execution.job import Job
from tuner.execution.pipeline import Pipeline
from tuner.measurement.protocol import Description, SelfCheckAnswer
from tuner.records import Environment, Evaluation, Performance, Workload
from tuner.search.deciding import Decision, Final
from tuner.search.station import Alone, Here
from tuner.template.render import Candidate
from tuner.workers import interruption, scratch

LOOK_EVERY_S = 0.5
IDLE_S = 600.0  # as when the coordinator was killed: what it had open holds the device's memory

Tell = Callable[[str, str, list[Any]], None]  # a topic, a method of `contest.Told` and its arguments


@dataclass(frozen=True)
class Subject:
    """What a search is about, without a path: text and values. `topic` is the search's own."""

    topic: str
    file_name: str  # of the problem
    problem: str  # its text
    workload: Workload
    error_budget: float
    compile_timeout_s: float
    run_timeout_s: float


@dataclass(frozen=True)
class Trial:
    """A candidate to be measured."""

    candidate: Candidate
    leaves: tuple[str, ...]
    best_ms: float | None
    floor_ms: float


class _Told:
    """Implements `contest.Told`: it goes to the coordinator."""

    def __init__(self, topic: str, tell: Tell) -> None:
        self.topic, self.tell = topic, tell

    def stage(self, text: str) -> None:
        self.tell(self.topic, "stage", [text])

    def final(self, done: int, total: int) -> None:
        self.tell(self.topic, "final", [done, total])


class Opened:
    """A subject's processes on this device. One thing is measured at a time; candidates compile meanwhile."""

    def __init__(self, here: Here, compilers: Compilers) -> None:
        self.here, self.compilers = here, compilers
        self.beside = backends.of(here.job.torch_device).compiles_beside_measuring
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        while not self._turn.acquire(timeout=LOOK_EVERY_S):
            interruption.check()
        try:
            yield
        finally:
            self._turn.release()

    def measured(self, trial: Trial) -> Evaluation:
        """Compile, verify and time one candidate. Raises DeviceFailed, DeviceError."""
        here = self.here
        pipeline = Pipeline(here.job, here.lane, here.folder, trial.floor_ms, self.compilers)
        pipeline.best_ms = trial.best_ms
        with closing(pipeline):
            build = pipeline.submit(0, trial.candidate, trial.leaves).build
            while self.beside and not build.done():
                with contextlib.suppress(TimeoutError):
                    build.exception(LOOK_EVERY_S)
                interruption.check()
            with self.turn():
                return pipeline.next()[2]


class Bay:
    """One device, open for one subject at a time: the judge of another one would hold its memory."""

    def __init__(self, device: str, environment: Environment, tell: Tell) -> None:
        self.device, self.environment, self.tell = device, environment, tell
        self.changed = threading.Condition()
        self.subject: Subject | None = None
        self.opened: Opened | None = None
        self.users = 0
        self.stack = ExitStack()
        self.idle: threading.Timer | None = None  # closes what nobody has used for long

    @contextlib.contextmanager
    def at(self, subject: Subject) -> Iterator[Opened]:
        """What is open for a subject; whoever uses another one's is waited for."""
        with self.changed:
            while self.users and self.subject != subject:
                self.changed.wait(LOOK_EVERY_S)
                interruption.check()
            if self.subject != subject or self.opened is None:
                self._close()
                self.subject, self.opened = subject, self._open(subject)
            self.users += 1
            opened = self.opened
            if self.idle is not None:
                self.idle.cancel()
        try:
            yield opened
        except TunerError as fault:  # nobody but this worker has the folder in which the problem lies here
            fault.args = (str(fault).replace(f"{opened.here.folder}{os.sep}", ""),)
            raise
        finally:
            with self.changed:
                self.users -= 1
                self.changed.notify_all()
                self.idle = threading.Timer(IDLE_S, self.let_go, [subject.topic])
                self.idle.daemon = True
                self.idle.start()

    def _open(self, subject: Subject) -> Opened:
        folder = self.stack.enter_context(scratch.subfolder())
        problem = folder / Path(subject.file_name).name
        problem.write_text(subject.problem)
        backend = backends.of(self.device)
        job = Job(
            problem=problem,
            workload=subject.workload,
            torch_device=self.device,
            seed=secrets.randbits(31),
            error_budget=subject.error_budget,
            environment=toolchain.environment(),
            compile_timeout_s=subject.compile_timeout_s,
            run_timeout_s=subject.run_timeout_s,
            capability=backend.target(self.environment),
        )
        compilers = Compilers(backend.compile_processes(), job.environment, self.device)
        self.stack.enter_context(closing(compilers))
        here = self.stack.enter_context(closing(Here(job, folder, _Told(subject.topic, self.tell), Alone())))
        return Opened(here, compilers)

    def _close(self) -> None:
        self.subject = self.opened = None
        self.stack.close()

    def let_go(self, topic: str) -> None:
        """The search of this topic has ended: its processes go, unless something is still done for it."""
        with self.changed:
            if self.subject is not None and self.subject.topic == topic and not self.users:
                self._close()


# ---- what is asked for: each is done with what is open for the subject ----------------------------


def describe(opened: Opened) -> Description:
    with opened.turn():
        return opened.here.describe()


def prepare(opened: Opened) -> None:
    with opened.turn():
        opened.here.prepare()


def self_check(opened: Opened) -> SelfCheckAnswer:
    with opened.turn():
        return opened.here.self_check()


def eager(opened: Opened) -> Performance:
    with opened.turn():
        return opened.here.eager()


def measure(opened: Opened, trial: Trial) -> Evaluation:
    return opened.measured(trial)


def decide(opened: Opened, final: Final) -> Decision:
    with opened.turn():
        return opened.here.decide(final)
