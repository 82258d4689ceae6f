"""The compile pool: processes that compile ahead of whoever measures, one pool for all searches of a command."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.execution.compiler import Compile, Compiler, OpenCompiler, first_error, resources
from tuner.execution.job import EXTENSIONS, Job, candidate_path
from tuner.execution.spans import Spans
from tuner.records import Evaluation, Resources, Span, Status
from tuner.template.render import Candidate
from tuner.workers.worker import LOG_TAIL_BYTES, Worker, WorkerFailure, WorkerTimeout

PTXAS_LOG_BYTES = 2**18  # ptxas says a few lines for each kernel of the source


@dataclass(frozen=True)
class Build:
    """What the pool made of a candidate; `failure` is its evaluation when it cannot be measured."""

    compile_s: float = 0.0
    resources: Resources | None = None
    log: str = ""
    failure: Evaluation | None = None
    spans: tuple[Span, ...] = ()


class Compilers:
    """So many processes; what they are given is compiled in that order, each within its own deadline.

    `device` names the cores that they keep to, where a CPU's lane has some of its own.
    """

    def __init__(self, size: int, environment: Mapping[str, str], device: str) -> None:
        self.size = size
        self.workers = [Worker(OpenCompiler(device), environment) for _ in range(size)]
        self.idle: queue.SimpleQueue[Worker[Compiler]] = queue.SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)
        self.threads = ThreadPoolExecutor(size, thread_name_prefix="compile")
        self.lock = threading.Lock()
        self.running: dict[Future[Build], Worker[Compiler]] = {}
        self.unwanted: set[Future[Build]] = set()
        self.ahead: dict[Path, Future[Build]] = {}  # begun before anybody asked

    def begin(self, candidate: Candidate, folder: Path, job: Job) -> None:
        """Have a candidate compiled that will be submitted later."""
        self.ahead[candidate_path(folder, candidate)] = self.submit(candidate, folder, job)

    def submit(self, candidate: Candidate, folder: Path, job: Job) -> Future[Build]:
        """Write a candidate into a search's folder and have it compiled there."""
        path = candidate_path(folder, candidate)
        if path in self.ahead:
            return self.ahead.pop(path)
        path.write_text(candidate.text)
        build: Future[Build] = Future()
        self.threads.submit(self._run, build, path, folder / EXTENSIONS, job)
        return build

    def _run(self, build: Future[Build], path: Path, extensions: Path, job: Job) -> None:
        worker = self.idle.get()
        try:
            with self.lock:
                if not build.set_running_or_notify_cancel():
                    return
                self.running[build] = worker
            spans = Spans()
            with spans.during("compile"):
                made = _built(worker, path, extensions, job)
            build.set_result(replace(made, spans=tuple(spans.taken)))
        except BaseException as error:  # whoever waits for the build has to hear of a bug
            build.set_exception(error)
        finally:
            with self.lock:
                self.running.pop(build, None)
                killed = build in self.unwanted
                self.unwanted.discard(build)
            if killed:
                worker.stop()  # the next candidate does not meet a dying process
            self.idle.put(worker)

    def withdraw(self, build: Future[Build]) -> None:
        """Nobody wants it any more: it is not begun, or its compilers are killed."""
        with self.lock:
            if build.cancel():
                return
            worker = self.running.get(build)
            if worker is not None:
                self.unwanted.add(build)
                worker.abort()

    def close(self) -> None:
        """End the pool. Killed processes wake the threads that wait for them; only then are pipes closed."""
        for worker in self.workers:
            worker.kill()
        self.threads.shutdown(wait=True, cancel_futures=True)
        for worker in self.workers:
            worker.close()


def _built(worker: Worker[Compiler], path: Path, extensions: Path, job: Job) -> Build:
    try:
        built = worker.call(Compile(path, extensions, job.capability), job.compile_timeout_s)
        log = f"{worker.log_tail(PTXAS_LOG_BYTES)}\n{built.fault}"
    except WorkerTimeout as failure:
        detail = f"the compiler gave {failure}"
        return Build(failure=Evaluation(status=Status.TIMEOUT, detail=detail, log=failure.log))
    except WorkerFailure as failure:
        detail = f"the compiling process: {failure}"
        return Build(failure=Evaluation(status=Status.COMPILE, detail=detail, log=failure.log))
    failed = None
    if built.fault:
        failed = Evaluation(
            status=Status.COMPILE, detail=first_error(log), compile_s=built.compile_s, log=log[-LOG_TAIL_BYTES:]
        )
    return Build(built.compile_s, resources(log), log[-LOG_TAIL_BYTES:], failed)
