"""The measuring lane: one session process on one device, replaced after a failure and prepared again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tuner.errors import DeviceError
from tuner.execution.device_lock import DeviceLock
from tuner.execution.job import PREPARE_DEADLINE_S, Job
from tuner.measurement.protocol import (
    CheckSuite,
    Describe,
    Description,
    MeasureTrial,
    Prepare,
    SelfCheckAnswer,
    SessionService,
    VerifyFile,
)
from tuner.records import Correctness, Evaluation, Status
from tuner.workers.protocol import AnswerT, Request
from tuner.workers.worker import Worker, WorkerBug, WorkerFailure, WorkerTimeout


class Lane:
    """`say` is told when the lane has to wait for its device."""

    def __init__(self, job: Job, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        self.job, self.folder = job, folder
        self.lock = DeviceLock(job.torch_device, say)
        self.worker = Worker(job.session(folder), job.environment)
        self.prepared = 0  # the process that is; they are counted

    def describe(self) -> Description:
        """Environment, problem's hash, floor. Raises the TunerError that names what is wrong with the problem."""
        return self._must(Describe())

    def prepare(self) -> None:
        """Have the process ready to judge: the oracle and the reference's error computed."""
        if self.worker.pid is None or self.prepared != self.worker.started:
            self._must(Prepare())
            self.prepared = self.worker.started

    def self_check(self) -> SelfCheckAnswer:
        """What became of the mutants that the suite was sent."""
        return self._must(CheckSuite())

    def _must(self, request: Request[SessionService, AnswerT]) -> AnswerT:
        try:
            return self.call(request, PREPARE_DEADLINE_S)
        except WorkerFailure as failure:
            tail = failure.log.strip().splitlines()
            reason = f": {tail[-1][:300]}" if tail else ""
            raise DeviceError(f"{self.job.torch_device}: the reference could not be run: {failure}{reason}") from None

    def call(self, request: Request[SessionService, AnswerT], deadline_s: float) -> AnswerT:
        """A request to the session while nobody else times on the device."""
        with self.lock:
            return self.worker.call(request, deadline_s)

    def verify(self, path: Path, sha256: str, thoroughly: bool) -> Correctness:
        """The verdict on one file; raises WorkerFailure when the process does not survive it."""
        return self.call(VerifyFile(path, sha256, thoroughly), PREPARE_DEADLINE_S)

    def measure(self, path: Path, sha256: str, best_ms: float | None, floor_ms: float) -> Evaluation:
        """Verify and time one candidate. However it ends, it costs this trial alone."""
        self.prepare()
        try:
            answer = self.call(MeasureTrial(path, sha256, best_ms, floor_ms), self.job.run_timeout_s)
        except WorkerTimeout as failure:
            return Evaluation(status=Status.TIMEOUT, detail=str(failure), log=failure.log)
        except WorkerFailure as failure:
            return Evaluation(status=Status.CRASH, detail=str(failure), log=failure.log)
        except WorkerBug as bug:  # what the candidate did to its process, say to torch's defaults
            self.worker.stop()
            last = str(bug).strip().splitlines()[-1]
            return Evaluation(status=Status.CRASH, detail=f"the measuring process failed: {last}"[:500], log=str(bug))
        log = self.worker.log_tail()
        if not answer.healthy:
            self.worker.stop()
        return answer.evaluation.with_log(log)

    def close(self) -> None:
        self.worker.close()
