"""The pipeline: a pool that compiles ahead of one measuring lane per device.

Candidates stream through: written to a file, compiled by the pool, measured in
the order in which they were submitted as far as they are ready. A lock file per
device keeps two searches on one machine from timing at the same moment.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import DeviceError
from tuner.execution.compiler import resources
from tuner.execution.worker import LOG_TAIL_BYTES, Worker, WorkerCrash, WorkerFailure, WorkerTimeout
from tuner.records import Evaluation, Status, Workload
from tuner.template.render import Candidate

PREPARE_DEADLINE_S = 600.0
PTXAS_LOG_BYTES = 2**18  # ptxas says a few lines for each kernel of the source
LEFTOVER = re.compile(r"tuner-(?:run|worker)-(\d+)-")


@dataclass(frozen=True)
class Job:
    """What every process of a search needs to know."""

    problem: Path
    workload: Workload
    torch_device: str  # "cpu", "cuda:0"
    capability: tuple[int, int] | None  # to compile for; None on a CPU
    seed: int
    error_budget: float
    compile_timeout_s: float
    run_timeout_s: float
    environment: dict[str, str]  # of the processes: where the toolchain is


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for candidates and their builds, removed at the end; those of killed runs are swept."""
    root = Path(tempfile.gettempdir())
    for old in root.glob("tuner-*"):
        match = LEFTOVER.match(old.name)
        if match is None or Path(f"/proc/{match[1]}").exists():
            continue
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # another user's
                old.unlink()
    folder = Path(tempfile.mkdtemp(prefix=f"tuner-run-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def device_lock(torch_device: str) -> filelock.BaseFileLock:
    """Held while something is timed on the device, by whatever process of this machine."""
    name = backends.of(torch_device).physical_id().replace(":", "-").replace("/", "-")
    return filelock.FileLock(Path(tempfile.gettempdir()) / f"tuner-device-{name}.lock", mode=0o666)


class Lane:
    """The measuring lane: one session process, replaced after a failure and prepared again."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.lock = device_lock(job.torch_device)
        self.worker = Worker(
            "tuner.measurement.session:Session",
            {
                "problem_path": str(job.problem),
                "workload": job.workload.model_dump(mode="json"),
                "torch_device": job.torch_device,
                "seed": job.seed,
                "error_budget": job.error_budget,
                "extensions_dir": str(folder / "extensions"),
            },
            job.environment,
        )
        self.prepared = 0

    def describe(self) -> dict[str, Any]:
        """Environment, limits, floor. Raises the TunerError that names what is wrong with the problem."""
        with self.lock:
            described: dict[str, Any] = self._must("describe")
            return described

    def prepare(self) -> None:
        """Have the process ready to judge: the oracle and the reference's error computed."""
        if self.worker.process is None or not self.worker.process.is_alive() or self.prepared != self.worker.started:
            with self.lock:
                self._must("prepare")
            self.prepared = self.worker.started

    def self_check(self) -> dict[str, Any]:
        """What became of the wrong and the honest models that the suite was sent."""
        with self.lock:
            found: dict[str, Any] = self._must("self_check")
            return found

    def _must(self, method: str) -> Any:
        try:
            return self.worker.call(method, PREPARE_DEADLINE_S)
        except WorkerFailure as failure:
            tail = failure.log.strip().splitlines()
            reason = f": {tail[-1][:300]}" if tail else ""
            raise DeviceError(f"{self.job.torch_device}: the reference could not be run: {failure}{reason}") from None

    def measure(self, path: Path, sha256: str, best_ms: float | None, floor_ms: float) -> Evaluation:
        """Verify and time one candidate; a timeout, a crash or a broken device costs this trial alone."""
        self.prepare()
        try:
            with self.lock:
                answer = self.worker.call(
                    "trial", self.job.run_timeout_s, path=str(path), sha256=sha256, best_ms=best_ms, floor_ms=floor_ms
                )
        except WorkerTimeout as failure:
            return Evaluation(status=Status.TIMEOUT, detail=str(failure), log=failure.log)
        except WorkerCrash as failure:
            return Evaluation(status=Status.CRASH, detail=str(failure), log=failure.log)
        log = self.worker.log_tail()
        if not answer["healthy"]:
            self.worker.stop()
        return Evaluation.model_validate({**answer["evaluation"], "log": log})

    def close(self) -> None:
        self.worker.close()


class Pipeline:
    """Implements `search.Evaluator` on rendered candidates."""

    def __init__(self, job: Job, lane: Lane, folder: Path, floor_ms: float, pool_size: int) -> None:
        self.job, self.lane, self.folder, self.floor_ms = job, lane, folder, floor_ms
        beside = backends.of(job.torch_device).compiles_beside_measuring
        self.pool_size = pool_size if beside else 1
        self.capacity = 2 * pool_size if beside else 1
        self.best_ms: float | None = None
        self.compilers: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self.all_compilers = [self._compiler() for _ in range(self.pool_size)]
        for compiler in self.all_compilers:
            self.compilers.put(compiler)
        self.threads = ThreadPoolExecutor(self.pool_size, thread_name_prefix="compile")
        self.under_way: dict[int, tuple[Candidate, Future[dict[str, Any]]]] = {}
        self.closing = threading.Event()

    def _compiler(self) -> Worker:
        arguments = {"extensions_dir": str(self.folder / "extensions"), "capability": self.job.capability}
        return Worker("tuner.execution.compiler:Compiler", arguments, self.job.environment)

    def path(self, candidate: Candidate) -> Path:
        return self.folder / f"{candidate.sha256}.py"

    def submit(self, number: int, candidate: Candidate) -> None:
        self.path(candidate).write_text(candidate.text)
        self.under_way[number] = candidate, self.threads.submit(self._compile, candidate)

    def _compile(self, candidate: Candidate) -> dict[str, Any]:
        if self.closing.is_set():
            return {"status": Status.COMPILE, "detail": "the search ended"}
        compiler = self.compilers.get()
        try:
            deadline = self.job.compile_timeout_s
            built = compiler.call("compile", deadline, path=str(self.path(candidate)))
            log = compiler.log_tail(PTXAS_LOG_BYTES)
        except WorkerTimeout as failure:
            return {"status": Status.TIMEOUT, "detail": f"the compiler gave {failure}", "log": failure.log}
        except WorkerCrash as failure:
            return {"status": Status.COMPILE, "detail": f"the compiling process: {failure}", "log": failure.log}
        finally:
            self.compilers.put(compiler)
        log = f"{log}\n{built['fault']}"
        common = {"compile_s": built["compile_s"], "resources": resources(log), "log": log[-LOG_TAIL_BYTES:]}
        return {**common, "status": Status.COMPILE, "detail": _first_error(log)} if built["fault"] else common

    def next(self) -> tuple[int, str, Evaluation]:
        """Measure the oldest candidate that is compiled, waiting when none is."""
        if not any(future.done() for _, future in self.under_way.values()):
            wait([future for _, future in self.under_way.values()], return_when=FIRST_COMPLETED)
        number = min(n for n, (_, future) in self.under_way.items() if future.done())
        candidate, future = self.under_way.pop(number)
        built = future.result()
        if "status" in built:
            if toolchain.no_space(self.folder):  # the failure says nothing about the candidate
                raise DeviceError(f"{self.folder}: no space left to build in; free some, or set TMPDIR")
            return number, candidate.sha256, Evaluation(**built)
        evaluation = self.lane.measure(self.path(candidate), candidate.sha256, self.best_ms, self.floor_ms)
        if evaluation.status is Status.OK:
            self.best_ms = min(evaluation.latency_ms, self.best_ms or evaluation.latency_ms)
            log = evaluation.log  # of a good build only ptxas's figures are worth keeping
        else:
            log = (built["log"][-2000:] + "\n" + evaluation.log).strip()
        return number, candidate.sha256, evaluation.with_build(built["compile_s"], built["resources"], log)

    def close(self) -> None:
        """End the pool. Killed processes wake the threads that wait for them; only then are pipes closed."""
        self.closing.set()
        for compiler in self.all_compilers:
            compiler.kill()
        self.threads.shutdown(wait=True, cancel_futures=True)
        for compiler in self.all_compilers:
            compiler.close()


def _first_error(log: str) -> str:
    """The line of a compiler's output that says what is wrong, for the one-line detail."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output")[:500]
