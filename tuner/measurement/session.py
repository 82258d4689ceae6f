"""Evaluating candidates: verify, then time. Runs inside a worker.

`Session` is the measuring lane's worker target: it holds the device, the
prepared verification suite and the models that a final compares.
"""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner import backends, problem
from tuner.errors import words_of
from tuner.measurement import process_state
from tuner.measurement.floor import floor
from tuner.measurement.protocol import Description, SelfCheckAnswer, TrialAnswer
from tuner.measurement.statistics import Untrusted, summarise
from tuner.measurement.timer import Timer
from tuner.records import CaseResult, Correctness, Evaluation, Performance, Status, Workload
from tuner.verification import sanitizer
from tuner.verification.cases.values import own_scales
from tuner.verification.complete import run_completely
from tuner.verification.criterion import Wrong, judge
from tuner.verification.guarded_model import GuardedModel
from tuner.verification.guards import GuardedAllocations, poison
from tuner.verification.parameters import load_state
from tuner.verification.self_check import self_check
from tuner.verification.suite import Suite, run_case
from tuner.workers.protocol import Report

HOPELESS = 1.5  # a candidate slower than this multiple of the best is timed once
CLOSE = 1.05  # one within this multiple of the best is timed again, in turn with the best
SURVIVOR_SAMPLES, CLOSE_SAMPLES = 10, 30
SURVIVOR_S, CLOSE_S = 2.0, 4.0  # seconds after which slow forwards are sampled no more
BENIGN = 1.5  # a candidate may take this multiple of its time on values of other scales, and no more


class Phase:
    """The phase that a trial is in. Each is reported, so that the parent can name the last of a trial that hangs."""

    def __init__(self, report: Report) -> None:
        self.report, self.status = report, Status.LOAD

    def enter(self, status: Status, detail: str = "") -> None:
        self.status = status
        self.report(f"{status.value}: {detail}" if detail else status.value)


class Session:
    """One problem on one workload and one device.

    `seed` gives the values that candidates are verified on; only the parent and this process know it.
    """

    def __init__(
        self,
        path: Path,
        workload: Workload,
        torch_device: str,
        seed: int,
        error_budget: float,
        extensions: Path,
        report: Report = lambda phase: None,
    ) -> None:
        os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions)
        self.report = report
        report("device")
        self.backend = backends.of(torch_device)
        self.backend.select()
        self.device, self.seed, self.error_budget = torch_device, seed, error_budget
        self.workload = workload
        self.problem = problem.load(path)
        self._suite: Suite | None = None
        self._timer: Timer | None = None
        self._uneven: Timer | None = None
        self.best: tuple[float, Any] | None = None  # its median in ms and the model itself
        self.finalists: dict[str, Any] = {}

    # ---- what a search needs to know first --------------------------------------------------------

    def describe(self) -> Description:
        """Environment, problem hash and the physical floor of this workload on this device."""
        self.report("describe")
        problem.require_takes(self.problem, self.workload)
        ceilings = self.backend.ceilings()
        return Description(
            environment=self.backend.environment(),
            problem_sha256=self.problem.sha256,
            floor=floor(self.problem, self.workload, ceilings, self.backend),
        )

    def prepare(self) -> None:
        """Have the oracle and the reference's error computed for every case."""
        assert self.suite.cases

    @property
    def suite(self) -> Suite:
        """The verification suite; prepared when it is first asked for."""
        if self._suite is None:
            self.report("reference")
            self._suite = Suite(self.problem, self.workload, self.device, self.seed, self.error_budget)
        return self._suite

    @property
    def timer(self) -> Timer:
        """Times forwards on the values of case A."""
        if self._timer is None:
            self._timer = Timer(self.suite.cases[0].inputs, self.seed)
        return self._timer

    @property
    def uneven(self) -> Timer:
        """Times forwards on values where each sample of the batch has its own scale and offset."""
        if self._uneven is None:
            rng = torch.Generator(self.device).manual_seed(self.seed + 1)
            self._uneven = Timer(own_scales(self.suite.cases[0].inputs, self.suite.reference.batch, rng), self.seed)
        return self._uneven

    def self_check(self) -> SelfCheckAnswer:
        """Send wrong models through the suite, and return which it rejected and which it missed."""
        found = self_check(
            self.problem, self.workload, self.device, self.seed, self.error_budget,
            lambda name: self.report(f"self-check: {name}"), with_honest=False,
        )  # fmt: skip
        self.backend.release_memory()
        return SelfCheckAnswer(caught=found.caught, missed=found.missed, left_out=found.left_out)

    # ---- a trial ----------------------------------------------------------------------------------

    def trial(self, path: Path, sha256: str, best_ms: float | None, floor_ms: float) -> TrialAnswer:
        """Load, verify and time one candidate.

        Returns its Evaluation, and whether this process can go on: after an illegal address
        every later call of the device fails, and what a candidate replaced stays replaced.
        If it cannot, the parent replaces the process. Raises nothing for what a candidate does.
        """
        started, phase = time.perf_counter(), Phase(self.report)
        correctness: Correctness | None = None
        performance: Performance | None = None
        detail, switches = "", process_state.switches()
        try:
            phase.enter(Status.LOAD)
            candidate = self._load(path, sha256)
            phase.enter(Status.LAUNCH)
            kept = GuardedAllocations()  # puts guards around what the candidate allocates once and keeps, too
            candidate.call(self.suite.cases[0].inputs, kept)
            phase.enter(Status.VERIFY)
            correctness = self.suite.run(candidate, lambda case: phase.enter(Status.VERIFY, case)).correctness()
            if correctness.fault:
                detail = correctness.fault
            elif not kept.intact():
                detail = "wrote outside the tensors that it allocated"
            elif (switch := process_state.switched(switches)) is not None:
                detail = f"changed {switch}, which is not its own"
            else:
                del kept
                phase.enter(Status.BENCHMARK)
                performance = self._time(candidate.model, best_ms, floor_ms)
                phase.status = Status.OK
        except (Wrong, Untrusted) as fault:
            detail = str(fault)
        except BaseException as error:  # the candidate's own code may raise anything
            detail = f"{type(error).__name__}: {_first_line(error)}"
        evaluation = Evaluation(
            status=phase.status,
            detail=detail,
            correctness=correctness,
            performance=performance,
            run_s=time.perf_counter() - started,
        )
        as_before = process_state.tampered() is None and process_state.switched(switches) is None
        healthy = as_before and self.backend.is_healthy()
        return TrialAnswer(evaluation=evaluation, healthy=healthy)

    def _load(self, path: Path, sha256: str) -> GuardedModel:
        return self.suite.build(self._model_new(path, sha256))

    def _model_new(self, path: Path, sha256: str) -> Callable[..., torch.nn.Module]:
        """The class of a candidate's file, its kernels built and loaded."""
        text = path.read_bytes()
        if hashlib.sha256(text).hexdigest() != sha256:
            raise Wrong(f"{path} is not the file that was rendered for this trial")
        module = problem.execute(path, f"tuner_candidate_{sha256[:16]}")
        if hasattr(module, "preload"):  # any file that defines ModelNew may be verified
            module.preload()
        process_state.check_untampered()
        model_new: Callable[..., torch.nn.Module] = module.ModelNew
        return model_new

    def _time(self, model: torch.nn.Module, best_ms: float | None, floor_ms: float) -> Performance:
        """Sample a right candidate, more often the closer it comes to the best; raises Untrusted or Wrong."""
        case = self.suite.cases[0]
        load_state(model, case.state)
        timer = self.timer
        timer.sample_ms(model)
        times = [timer.sample_ms(model)[0]]
        if best_ms is None or times[0] <= HOPELESS * best_ms:
            times = timer.samples_ms(model, count(SURVIVOR_SAMPLES, SURVIVOR_S, times[0]))
            median = summarise(times).latency_ms
            leader = min(best_ms or math.inf, self.best[0] if self.best else math.inf)
            if leader < math.inf and median <= CLOSE * leader:
                more = count(CLOSE_SAMPLES, CLOSE_S, median) - len(times)
                for _ in range(more):  # in turn with the best, so that both run at the same clocks
                    if self.best is not None:
                        timer.sample_ms(self.best[1])
                    times.append(timer.sample_ms(model)[0])
        self._check_last(model)
        performance = summarise(times)
        self._check_believable(performance.latency_ms, floor_ms)
        good = best_ms is None or performance.latency_ms <= CLOSE * best_ms  # self.best of a new process may be slow
        if good and (self.best is None or performance.latency_ms < self.best[0]):
            self._check_steady(model)
            self.best = (performance.latency_ms, model)
        return performance

    def _check_believable(self, latency_ms: float, floor_ms: float) -> None:
        """Raise Untrusted for a time that is below what the device can do."""
        if latency_ms < floor_ms * self.backend.proof_share:
            raise Untrusted(
                f"measured {latency_ms:.4f} ms, below the physical floor of {floor_ms:.4f} ms: "
                "a fault of the measurement"
            )

    def _check_last(self, model: torch.nn.Module) -> None:
        """Raise Wrong unless a timed forward on the values of case A gives the right result.

        The result of the forward before it is overwritten first, so that handing out the same
        memory again does not pass for a right result.
        """
        case = self.suite.cases[0]
        poison(self.timer.sample_ms(model)[1])
        last = self.timer.sample_ms(model, fresh=False)[1]
        if not judge(case.name, case.expected, last).ok:
            raise Wrong("right when it was verified, wrong when it was timed")
        process_state.check_untampered()

    def _check_steady(self, model: torch.nn.Module) -> None:
        """Raise Untrusted for a candidate that is fast only on values like those that it is timed on.

        Three pairs of samples decide that it is not; if they do not, nine do: the three may be noise.
        """
        load_state(model, self.suite.cases[0].state)
        self.uneven.sample_ms(model)
        for number in (3, 9):
            pairs = [(self.timer.sample_ms(model)[0], self.uneven.sample_ms(model)[0]) for _ in range(number)]
            plain, uneven = (statistics.median(times) for times in zip(*pairs, strict=True))
            if uneven <= BENIGN * plain:
                return
        raise Untrusted(f"{plain:.4f} ms on the timed values, {uneven:.4f} ms on values of other scales")

    def verify(self, path: Path, sha256: str, thoroughly: bool = False) -> Correctness:
        """Judge one file by the cases of a trial, or by all there are. Raises nothing for what the file does."""
        try:
            if thoroughly:
                return self._verify_thoroughly(path, sha256)
            found = self.suite.run(self._load(path, sha256), self.report)
            return found.correctness()
        except BaseException as error:  # the file's own code may raise anything
            detail = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {_first_line(error)}"
            case = CaseResult(name="construction", ok=False, detail=detail)
            return Correctness(cases=(case,), error_ratio=0.0, agrees_with_eager=False)

    def _verify_thoroughly(self, path: Path, sha256: str) -> Correctness:
        model_new = self._model_new(path, sha256)
        found = run_completely(self.suite, model_new, self.report)
        cases = list(found.cases)
        self.report("timed values")
        if all(case.ok for case in cases):
            name = "timed values"
            try:
                model = self.suite.build(model_new).model
                self._check_steady(model)
                self._check_last(model)
                cases.append(CaseResult(name=name, ok=True))
            except (Wrong, Untrusted) as fault:
                cases.append(CaseResult(name=name, ok=False, detail=str(fault)))
            self.report("compute-sanitizer")
            cases += sanitizer.sanitize(self.problem, self.workload, path, self.device)
        return found.with_cases(cases)

    # ---- the final --------------------------------------------------------------------------------

    def enter(self, name: str, path: Path, sha256: str) -> None:
        """Load a finalist and warm it up."""
        self.report(f"final: {name}")
        self.best = None
        candidate = self._load(path, sha256)
        verdict = run_case(candidate, self.suite.cases[0])
        if not verdict.ok:
            raise Wrong(verdict.detail)
        self.finalists[name] = candidate.model

    def sample(self, name: str, count: int) -> list[float]:
        """`count` timings of a finalist in ms, after one that is dropped."""
        return self.timer.samples_ms(self.finalists[name], count + 1)[1:]

    def settle(self, name: str, latency_ms: float, floor_ms: float) -> None:
        """Raise Untrusted or Wrong unless a finalist's time is believable and it is still right when timed."""
        self.report(f"final: {name}")
        self._check_believable(latency_ms, floor_ms)
        self._check_last(self.finalists[name])


def count(samples: int, seconds: float, one_ms: float) -> int:
    """How often to sample what takes `one_ms`: `samples` times, or less within `seconds`, but thrice at least."""
    return max(3, min(samples, int(seconds * 1e3 / one_ms)))


def _first_line(error: BaseException) -> str:
    text = words_of(error)
    return text.splitlines()[0][:500] if text else ""
