"""Which cases a candidate is asked, in which order: those of a trial, or all there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from tuner.records import EXAM_SEEDS, CaseResult
from tuner.verification.answers import Answer
from tuner.verification.cases import Case
from tuner.verification.complete import winner_cases, with_seed
from tuner.verification.criterion import judge
from tuner.verification.suite import Suite


@dataclass
class Question:
    """A case to be asked. `passed` says how it went, to whoever decides what comes next."""

    case: Case
    repeat: bool = False
    counts: bool = True  # False for agreement with eager, which is noted and decides nothing
    beyond: bool = False  # of values beyond those that are measured, where the reference's own error may be 0 by luck
    agrees: Callable[[Answer], bool] | None = None  # judges instead of the case's expectation
    passed: bool | None = None

    def done(self, ok: bool) -> None:
        self.passed = ok

    def judge(self, answer: Answer) -> CaseResult:
        if self.agrees is not None:
            return CaseResult(name=self.case.name, ok=self.agrees(answer))
        return judge(self.case.name, self.case.expected, answer)


def trial(suite: Suite) -> Iterator[Question]:
    """The cases of a trial; when all are passed, whether KernelBench would score the candidate as right."""
    ok = True
    for number, case in enumerate(suite.cases):
        question = Question(case, repeat=number == 0)
        yield question
        ok = ok and bool(question.passed)
    if ok:
        yield agreement(suite)


def agreement(suite: Suite) -> Question:
    """Initial parameters and plain inputs, compared with eager."""
    first = suite.cases[0]
    plain = dataclasses.replace(first, name="agreement with eager", state=suite.reference.state)
    return Question(plain, counts=False, agrees=suite.agrees)


def complete(suite: Suite) -> Iterator[Question | CaseResult]:
    """The cases of a trial with several seeds, then those that a winner has to survive."""
    yield from trial(suite)
    for number in range(2, EXAM_SEEDS + 1):
        for case in with_seed(suite, number).cases:
            yield Question(case)
    for made in winner_cases(suite.reference):
        yield made if isinstance(made, CaseResult) else Question(made, beyond=True)


def generator(suite: Suite, more: int) -> torch.Generator:
    """Random numbers on the suite's device, `more` telling them from its own."""
    return torch.Generator(suite.reference.device).manual_seed(suite.seed + more)
