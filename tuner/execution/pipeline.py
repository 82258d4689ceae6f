"""The pipeline: a pool that compiles ahead of the measuring lane.

Candidates stream through: written to a file, compiled by the pool, measured in
the order in which they were submitted as far as they are ready.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import DeviceError
from tuner.execution.compiler import Compile, Compiler, OpenCompiler, first_error, resources
from tuner.execution.job import Job
from tuner.execution.lane import Lane
from tuner.execution.spans import Spans
from tuner.records import Evaluation, Resources, Span, Status
from tuner.template.render import Candidate
from tuner.workers.worker import LOG_TAIL_BYTES, Worker, WorkerFailure, WorkerTimeout

PTXAS_LOG_BYTES = 2**18  # ptxas says a few lines for each kernel of the source


@dataclass(frozen=True)
class _UnderWay:
    candidate: Candidate
    leaves: tuple[str, ...]
    build: Future[Build]


@dataclass(frozen=True)
class Build:
    """What the pool made of a candidate; `failure` is its evaluation when it cannot be measured."""

    compile_s: float = 0.0
    resources: Resources | None = None
    log: str = ""
    failure: Evaluation | None = None
    spans: tuple[Span, ...] = ()


class Pipeline:
    """Implements `search.Evaluator` on rendered candidates."""

    def __init__(self, job: Job, lane: Lane, folder: Path, floor_ms: float, pool_size: int) -> None:
        self.job, self.lane, self.folder, self.floor_ms = job, lane, folder, floor_ms
        beside = backends.of(job.torch_device).compiles_beside_measuring
        self.pool_size = pool_size if beside else 1
        self.capacity = 2 * pool_size if beside else 1
        self.best_ms: float | None = None
        opening = OpenCompiler(folder / "extensions", job.capability)
        self.all_compilers = [Worker(opening, job.environment) for _ in range(self.pool_size)]
        self.compilers: queue.SimpleQueue[Worker[Compiler]] = queue.SimpleQueue()
        for compiler in self.all_compilers:
            self.compilers.put(compiler)
        self.threads = ThreadPoolExecutor(self.pool_size, thread_name_prefix="compile")
        self.under_way: dict[int, _UnderWay] = {}
        self.closing = threading.Event()

    @property
    def waited_s(self) -> float:
        """How long the lane has waited for others to leave the device."""
        return self.lane.lock.waited_s

    def path(self, candidate: Candidate) -> Path:
        return self.folder / f"{candidate.sha256}.py"

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...] = ()) -> None:
        """`leaves` are the operators that its template's variant leaves to PyTorch."""
        self.path(candidate).write_text(candidate.text)
        self.under_way[number] = _UnderWay(candidate, leaves, self.threads.submit(self._build, candidate))

    def _build(self, candidate: Candidate) -> Build:
        spans = Spans()
        with spans.during("compile"):
            build = self._compile(candidate)
        return replace(build, spans=tuple(spans.taken))

    def _compile(self, candidate: Candidate) -> Build:
        if self.closing.is_set():
            return Build(failure=Evaluation(status=Status.COMPILE, detail="the search ended"))
        compiler = self.compilers.get()
        try:
            built = compiler.call(Compile(self.path(candidate)), self.job.compile_timeout_s)
            log = f"{compiler.log_tail(PTXAS_LOG_BYTES)}\n{built.fault}"
        except WorkerTimeout as failure:
            detail = f"the compiler gave {failure}"
            return Build(failure=Evaluation(status=Status.TIMEOUT, detail=detail, log=failure.log))
        except WorkerFailure as failure:
            detail = f"the compiling process: {failure}"
            return Build(failure=Evaluation(status=Status.COMPILE, detail=detail, log=failure.log))
        finally:
            self.compilers.put(compiler)
        failed = None
        if built.fault:
            failed = Evaluation(
                status=Status.COMPILE, detail=first_error(log), compile_s=built.compile_s, log=log[-LOG_TAIL_BYTES:]
            )
        return Build(built.compile_s, resources(log), log[-LOG_TAIL_BYTES:], failed)

    def next(self) -> tuple[int, str, Evaluation]:
        """Measure the oldest candidate that is compiled, waiting when none is."""
        if not any(each.build.done() for each in self.under_way.values()):
            wait([each.build for each in self.under_way.values()], return_when=FIRST_COMPLETED)
        number = min(n for n, each in self.under_way.items() if each.build.done())
        ready = self.under_way.pop(number)
        candidate, build = ready.candidate, ready.build.result()
        if build.failure is not None:
            if toolchain.no_space(self.folder):  # the failure says nothing about the candidate
                raise DeviceError(f"{self.folder}: no space left to build in; free some, or set TMPDIR")
            return number, candidate.sha256, build.failure.with_spans(build.spans)
        waited_s, turn = self.waited_s, time.time()
        evaluation = self.lane.measure(
            self.path(candidate), candidate.sha256, self.best_ms, self.floor_ms, ready.leaves
        )
        if evaluation.status is Status.OK:
            self.best_ms = min(evaluation.latency_ms, self.best_ms or evaluation.latency_ms)
            log = evaluation.log  # of a good build only ptxas's figures are worth keeping
        else:
            log = f"{build.log[-2000:]}\n{evaluation.log}".strip()
        waited = Span(phase="wait", began=turn, seconds=self.waited_s - waited_s)
        evaluation = evaluation.with_spans((*build.spans, *([waited] if waited.seconds else [])))
        return number, candidate.sha256, evaluation.with_build(build.compile_s, build.resources, log)

    def close(self) -> None:
        """End the pool. Killed processes wake the threads that wait for them; only then are pipes closed."""
        self.closing.set()
        for compiler in self.all_compilers:
            compiler.kill()
        self.threads.shutdown(wait=True, cancel_futures=True)
        for compiler in self.all_compilers:
            compiler.close()
