"""The service of the process that judges; implements protocol.JudgeService."""

from __future__ import annotations

import functools
import gc
from pathlib import Path

from tuner import backends, problem
from tuner.measurement.floor import floor
from tuner.measurement.protocol import Description, NextPaper, Preparation, SelfCheckAnswer
from tuner.records import CaseResult, Correctness, Workload
from tuner.verification.judge import Judge
from tuner.verification.papers import GivenAnswer, GivenTensor, Plan, Sitting, Values
from tuner.verification.sanitizer import Sanitizing
from tuner.verification.self_check import self_check
from tuner.workers.protocol import Report


class Judging:
    """One problem, workload and device; `seed` is secret from candidates."""

    def __init__(
        self,
        path: Path,
        workload: Workload,
        torch_device: str,
        seed: int,
        error_budget: float,
        folder: Path,
        report: Report = lambda phase: None,
    ) -> None:
        self.report = report
        report("device")
        self.backend = backends.of(torch_device)
        self.backend.select()
        self.workload, self.seed, self.error_budget, self.folder = workload, seed, error_budget, folder
        self.problem = problem.load(path)
        self.sanitizing: Sanitizing | None = None

    @functools.cached_property
    def judge(self) -> Judge:
        self.report("reference")
        self.folder.mkdir(parents=True, exist_ok=True)
        return Judge(self.problem, self.workload, self.backend.torch_device, self.seed, self.error_budget, self.folder)

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

    def prepare(self) -> Preparation:
        return Preparation(
            construction=self.judge.construction, timed=self.judge.timed_paper(), launch=self.judge.launch_paper()
        )

    def self_check(self) -> SelfCheckAnswer:
        """Send the mutants through the suite; returns what became of them."""
        found = self_check(
            self.problem, self.workload, self.backend.torch_device, self.seed, self.error_budget,
            lambda name: self.report(f"self-check: {name}"), with_honest=False,
        )  # fmt: skip
        self.backend.release_memory()
        return SelfCheckAnswer(caught=found.caught, missed=found.missed, left_out=found.left_out)

    def layout_fault(self, parameters: dict[str, GivenTensor]) -> str:
        return self.judge.layout_fault(parameters)

    def parameters_fault(self, sitting: Sitting, folder: Path) -> str:
        return self.judge.parameters_fault(sitting, folder)

    def begin(self, complete: bool, leaves: tuple[str, ...]) -> None:
        self.judge.begin(complete, leaves)

    def next_paper(self) -> NextPaper:
        self.report("the next case")
        paper = self.judge.next_paper()
        return NextPaper(paper=paper, case=self.judge.current_name)

    def mark(self, sitting: Sitting, folder: Path) -> CaseResult:
        self.report(f"marking {self.judge.current_name}")
        return self.judge.mark(sitting, folder)

    def verdict(self) -> Correctness:
        return self.judge.verdict()

    def plan(self, forwards: int, values: Values) -> Plan:
        return self.judge.plan(forwards, values)

    def mark_timed(self, plan: Plan, kept: tuple[GivenAnswer, ...], folder: Path) -> str:
        self.report("marking timed values")
        return self.judge.mark_timed(plan, kept, folder)

    def begin_sanitizing(self, path: Path) -> None:
        if self.sanitizing is not None:
            self.sanitizing.end()
        self.sanitizing = Sanitizing(self.problem, self.workload, path, self.backend.torch_device, self.folder)

    def sanitized(self) -> list[CaseResult]:
        """Of the file that was given last."""
        self.report("compute-sanitizer")
        assert self.sanitizing is not None
        return self.sanitizing.results()

    def rest(self) -> None:
        """Forget what was computed, which may be most of the device's memory."""
        self.__dict__.pop("judge", None)
        gc.collect()
        self.backend.release_memory()
