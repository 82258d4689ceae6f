"""Calls of the judge: it sets papers and marks answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.measurement.protocol.answer import Answer
from tuner.records import CaseResult, Correctness, Environment, Floor, Workload
from tuner.verification.papers import (
    Construction,
    GivenAnswer,
    GivenTensor,
    Paper,
    Plan,
    Sitting,
    TimedPaper,
    Values,
)
from tuner.workers.protocol import Opening, Report, Request


class Description(Answer):
    """What a search has to know first."""

    environment: Environment
    problem_sha256: str
    floor: Floor


class SelfCheckAnswer(Answer):
    """What became of the mutants: those caught, with the case; those missed; those left out, with the reason."""

    caught: dict[str, str]
    missed: list[str]
    left_out: dict[str, str]


class NextPaper(Answer):
    """The next paper and the case it is of, which no candidate is told; None when all have been set."""

    paper: Paper | None
    case: str


class JudgeService(Protocol):
    def describe(self) -> Description: ...

    def prepare(self) -> Preparation: ...

    def self_check(self) -> SelfCheckAnswer: ...

    def layout_fault(self, parameters: dict[str, GivenTensor]) -> str: ...

    def parameters_fault(self, sitting: Sitting, folder: Path) -> str: ...

    def begin(self, complete: bool, leaves: tuple[str, ...]) -> None: ...

    def next_paper(self) -> NextPaper: ...

    def mark(self, sitting: Sitting, folder: Path) -> CaseResult: ...

    def verdict(self) -> Correctness: ...

    def plan(self, forwards: int, values: Values) -> Plan: ...

    def mark_timed(self, plan: Plan, kept: tuple[GivenAnswer, ...], folder: Path) -> str: ...

    def begin_sanitizing(self, path: Path) -> None: ...

    def sanitized(self) -> list[CaseResult]: ...

    def rest(self) -> None: ...


@dataclass(frozen=True)
class OpenJudge(Opening[JudgeService]):
    """`seed` is secret from candidates; papers are written into `folder`."""

    problem: Path
    workload: Workload
    torch_device: str
    seed: int
    error_budget: float
    folder: Path

    def open(self, report: Report) -> JudgeService:
        from tuner.measurement.judging import Judging

        return Judging(
            self.problem, self.workload, self.torch_device, self.seed, self.error_budget, self.folder, report
        )


@dataclass(frozen=True)
class Describe(Request[JudgeService, Description]):
    def run(self, service: JudgeService) -> Description:
        return service.describe()


class Preparation(Answer):
    """How candidates are built, and the values that forwards are timed on."""

    construction: Construction
    timed: TimedPaper
    launch: Paper  # the first case's


@dataclass(frozen=True)
class Prepare(Request[JudgeService, Preparation]):
    """Have the oracle and the reference's error computed for every case of a trial."""

    def run(self, service: JudgeService) -> Preparation:
        return service.prepare()


@dataclass(frozen=True)
class CheckSuite(Request[JudgeService, SelfCheckAnswer]):
    """Send the mutants through the suite."""

    def run(self, service: JudgeService) -> SelfCheckAnswer:
        return service.self_check()


@dataclass(frozen=True)
class LayoutFault(Request[JudgeService, str]):
    """How names, order, shapes or dtypes of a candidate's parameters differ from the reference's; "" for not at all."""

    parameters: dict[str, GivenTensor]

    def run(self, service: JudgeService) -> str:
        return service.layout_fault(self.parameters)


@dataclass(frozen=True)
class ParametersFault(Request[JudgeService, str]):
    """The same for their initial values, which were given as an answer into `folder`."""

    sitting: Sitting
    folder: Path

    def run(self, service: JudgeService) -> str:
        return service.parameters_fault(self.sitting, self.folder)


@dataclass(frozen=True)
class BeginExam(Request[JudgeService, None]):
    """The cases of a trial, or with `complete` all there are, for a candidate that leaves `leaves` to PyTorch."""

    complete: bool
    leaves: tuple[str, ...]

    def run(self, service: JudgeService) -> None:
        service.begin(self.complete, self.leaves)


@dataclass(frozen=True)
class AskPaper(Request[JudgeService, NextPaper]):
    def run(self, service: JudgeService) -> NextPaper:
        return service.next_paper()


@dataclass(frozen=True)
class Mark(Request[JudgeService, CaseResult]):
    """Mark what became of the last paper; its answers lie in `folder`."""

    sitting: Sitting
    folder: Path

    def run(self, service: JudgeService) -> CaseResult:
        return service.mark(self.sitting, self.folder)


@dataclass(frozen=True)
class AskVerdict(Request[JudgeService, Correctness]):
    def run(self, service: JudgeService) -> Correctness:
        return service.verdict()


@dataclass(frozen=True)
class AskPlan(Request[JudgeService, Plan]):
    """Values for so many forwards."""

    forwards: int
    values: Values

    def run(self, service: JudgeService) -> Plan:
        return service.plan(self.forwards, self.values)


@dataclass(frozen=True)
class MarkTimed(Request[JudgeService, str]):
    """What is wrong with the answers that were kept of a plan's forwards; "" when they are right."""

    plan: Plan
    kept: tuple[GivenAnswer, ...]
    folder: Path

    def run(self, service: JudgeService) -> str:
        return service.mark_timed(self.plan, self.kept, self.folder)


@dataclass(frozen=True)
class BeginSanitizing(Request[JudgeService, None]):
    """Start compute-sanitizer's checks of a file, in processes of their own."""

    path: Path

    def run(self, service: JudgeService) -> None:
        service.begin_sanitizing(self.path)


@dataclass(frozen=True)
class Sanitized(Request[JudgeService, list[CaseResult]]):
    """What they found, once they are through."""

    def run(self, service: JudgeService) -> list[CaseResult]:
        return service.sanitized()


@dataclass(frozen=True)
class Rest(Request[JudgeService, None]):
    """Give back the device's memory; whatever is asked next is prepared anew."""

    def run(self, service: JudgeService) -> None:
        service.rest()
