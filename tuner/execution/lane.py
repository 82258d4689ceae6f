"""The measuring lane of one device: a judge, and a bench that is replaced whenever a candidate may have harmed it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tuner import backends
from tuner.errors import DeviceError, DeviceFailed
from tuner.execution.device_lock import DeviceLock
from tuner.execution.examination import Examination, Sides
from tuner.execution.job import PREPARE_DEADLINE_S, Job
from tuner.measurement.protocol import (
    BenchService,
    CheckSuite,
    Describe,
    Description,
    IsAsItWas,
    JudgeService,
    Preparation,
    Prepare,
    Rename,
    Rest,
    SelfCheckAnswer,
)
from tuner.records import Evaluation, Status
from tuner.workers.protocol import AnswerT, Request
from tuner.workers.worker import Worker, WorkerBug, WorkerFailure, WorkerTimeout

SEAT, BEST = "trial", "best"
OPENINGS = 3  # before a device counts as failed


class Lane:
    """Candidates build in `folder`; papers and answers go into `room`, by default the same.

    `say` is told when the lane has to wait for its device.
    """

    def __init__(
        self, job: Job, folder: Path, say: Callable[[str], None] = lambda text: None, room: Path | None = None
    ) -> None:
        self.job, self.folder, self.room = job, folder, room or folder
        self.backend = backends.of(job.torch_device)
        self.lock = DeviceLock(job.torch_device, say)
        self.judge: Worker[JudgeService] = Worker(job.judge(self.room), job.environment)
        self.bench: Worker[BenchService] = self.new_bench()
        self.opened = 0  # the number of the bench's process that holds the device

    def new_bench(self) -> Worker[BenchService]:
        """A process for candidates; not started yet."""
        return Worker(self.job.bench(self.folder), self.job.environment)

    # ---- the judge --------------------------------------------------------------------------------

    def describe(self) -> Description:
        """Environment, problem's hash, floor. Raises the TunerError that names what is wrong with the problem."""
        return self.ask_judge(Describe())

    def prepare(self) -> Preparation:
        """Have the judge ready: the oracle and the reference's error computed, and what it wrote as it was written."""
        return self.ask_judge(Prepare())

    def self_check(self) -> SelfCheckAnswer:
        """What became of the mutants that the suite was sent."""
        return self.ask_judge(CheckSuite())

    def ask_judge(self, request: Request[JudgeService, AnswerT]) -> AnswerT:
        """It runs the reference alone: whatever becomes of it is no candidate's fault. Raises DeviceFailed."""
        try:
            with self.lock:
                return self.judge.call(request, PREPARE_DEADLINE_S)
        except WorkerFailure as failure:
            tail = failure.log.strip().splitlines()
            reason = f": {tail[-1][:300]}" if tail else ""
            raise DeviceFailed(f"{self.job.torch_device}: the reference could not be run: {failure}{reason}") from None

    def rest(self) -> None:
        """Free the device's memory; the next request has everything prepared anew."""
        self.bench.stop()
        if self.judge.pid is not None:
            self.ask_judge(Rest())

    # ---- candidates -------------------------------------------------------------------------------

    def sides(self, bench: Worker[BenchService], deadline: float) -> Sides:
        """The judge and a bench that has to be done by `deadline` on the monotonic clock."""

        def ask_bench(request: Request[BenchService, AnswerT]) -> AnswerT:
            with self.lock:
                return bench.call(request, max(0.0, deadline - time.monotonic()))

        answers = self.room / "answers"
        answers.mkdir(exist_ok=True)
        return Sides(self.ask_judge, ask_bench, self.prepare(), answers)

    def measure(
        self, path: Path, sha256: str, best_ms: float | None, floor_ms: float, leaves: tuple[str, ...] = ()
    ) -> Evaluation:
        """Verify and time one candidate. However it ends, it costs this trial alone.

        Raises DeviceFailed when the reference does not run either, or no process gets hold of the device.
        """
        with self.lock:  # until its process is gone, which could take the lock and keep it
            try:
                return self._measured(path, sha256, best_ms, floor_ms, leaves)
            finally:
                if self.backend.fresh_benches:
                    self.bench.stop()

    def _measured(
        self, path: Path, sha256: str, best_ms: float | None, floor_ms: float, leaves: tuple[str, ...]
    ) -> Evaluation:
        self.prepare()
        self._start_bench()
        sides = self.sides(self.bench, time.monotonic() + self.job.run_timeout_s)
        try:
            evaluation = Examination(sides, SEAT, path, sha256, leaves).evaluate(
                best_ms, floor_ms * self.backend.proof_share, BEST
            )
            self._keep_or_replace(evaluation, best_ms)
        except WorkerTimeout as failure:
            return Evaluation(status=Status.TIMEOUT, detail=self._within(failure), log=failure.log)
        except WorkerFailure as failure:
            return Evaluation(status=Status.CRASH, detail=str(failure), log=failure.log)
        except WorkerBug as bug:  # what the candidate did to its process, say to torch's defaults
            self.bench.stop()
            last = str(bug).strip().splitlines()[-1]
            return Evaluation(status=Status.CRASH, detail=f"the measuring process failed: {last}"[:500], log=str(bug))
        return evaluation.with_log(self.bench.log_tail())

    def _start_bench(self) -> None:
        """Have the bench hold the device, so that the trial's deadline is its own, and a failure is not the trial's."""
        self.bench.start()
        if self.opened == self.bench.started:
            return
        said = "it gives wrong results"
        for _ in range(OPENINGS):
            try:
                if self.bench.call(IsAsItWas(), PREPARE_DEADLINE_S):
                    self.opened = self.bench.started
                    return
            except (WorkerFailure, WorkerBug, DeviceError) as failure:
                said = str(failure).strip().splitlines()[-1]
            self.bench.stop()
        raise DeviceFailed(f"{self.job.torch_device}: no process could begin to measure: {said[:300]}")

    def _within(self, failure: WorkerTimeout) -> str:
        return f"no answer within {self.job.run_timeout_s:g} s while in {failure.phase}"

    def _keep_or_replace(self, evaluation: Evaluation, best_ms: float | None) -> None:
        """The best candidate so far stays beside the next; a process that is not as it was goes."""
        if self.backend.fresh_benches:
            return
        if not self.bench.call(IsAsItWas(), self.job.run_timeout_s):
            self.bench.stop()
        elif evaluation.status is Status.OK and (best_ms is None or evaluation.latency_ms < best_ms):
            self.bench.call(Rename(SEAT, BEST), self.job.run_timeout_s)

    def close(self) -> None:
        self.bench.close()
        self.judge.close()
