"""Suites of the shipped problems at small sizes, and candidates made from their references."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from tricks import problem_path, unseen, workload

from tuner import problem
from tuner.records import CaseResult
from tuner.verification.cases import Case
from tuner.verification.complete import answer, winner_cases
from tuner.verification.reference import Reference
from tuner.verification.suite import Suite, build

Own = Callable[[torch.Tensor], torch.Tensor]  # the reference's forward
Forward = Callable[[Own, torch.Tensor], torch.Tensor]


def loaded(name: str) -> problem.Problem:
    return problem.load(problem_path(name))


def make_suite(name: str, seed: int = 4, device: str = "cpu") -> Suite:
    torch.set_num_threads(1)
    return Suite(loaded(name), workload(name), device, seed)


def by_name(suite: Suite) -> dict[str, Case | CaseResult]:
    """The cases beyond those of a trial."""
    return {case.name: case for case in winner_cases(suite.reference)}


def model_new(reference: Reference, forward: Forward) -> type[nn.Module]:
    """A candidate class whose forward is given the reference's own and the input."""
    original = type(reference.model).forward

    def own(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with unseen():  # stands for a kernel of its own
            y: torch.Tensor = original(self, x)
            return y

    def forward_of(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return forward(lambda x: own(self, x), x)

    return type("Changed", (type(reference.model),), {"forward": forward_of})


def judged(case: Case | CaseResult, forward: Forward) -> CaseResult:
    """What becomes of a candidate in one case."""
    assert isinstance(case, Case)
    return answer(build(model_new(case.reference, forward), case.reference), case)
