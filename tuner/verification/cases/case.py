"""A case, and the lists of the functions that make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tuner.records import CaseResult
from tuner.verification.criterion import Expectation
from tuner.verification.parameters import State, Tensors
from tuner.verification.reference import Reference

if TYPE_CHECKING:
    from tuner.verification.cases.draw import Draw


@dataclass(frozen=True)
class Case:
    """One question to a candidate and what its answer has to be.

    A candidate's process needs the constructor's arguments and the seed of `reference`,
    then `state` and `inputs`. Name and expectation are for whoever judges.
    """

    name: str
    reference: Reference  # made with the constructor's arguments that the candidate is to be built with
    state: State
    inputs: Tensors
    expected: Expectation
    may_refuse: bool = False  # whether a clear error is a right answer, too
    note: str = ""  # what the result says beside its verdict

    def told(self, result: CaseResult) -> CaseResult:
        """The result with what its reader should know of this case."""
        if result.ok or not self.may_refuse:
            return result.with_note(self.note)
        shapes = ", ".join("x".join(map(str, x.shape)) for x in self.inputs)
        return result.with_addition(f" (inputs {shapes}; a host may refuse these by a RuntimeError)")


# A function that makes cases. Where a reference cannot answer, the result that says so stands for the case.
Makes = Callable[["Draw"], Iterator[Case | CaseResult]]
# Parameter values and inputs of a case, from the reference, plain inputs and a generator on their device.
Values = Callable[[Reference, Tensors, torch.Generator], tuple[State, Tensors]]

TRIAL: list[Makes] = []
WINNER: list[Makes] = []


def trial_case(name: str) -> Callable[[Values], Values]:
    """The decorated values are a case of every trial."""

    def register(values: Values) -> Values:
        def make(draw: Draw) -> Iterator[Case | CaseResult]:
            yield draw.of_trial(name, values)

        TRIAL.append(make)
        return values

    return register


def winner_case(make: Makes) -> Makes:
    """The decorated function makes cases that a winner has to survive."""
    WINNER.append(make)
    return make
