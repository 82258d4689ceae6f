"""The cases of what is to be shipped beyond those of a trial: A to D with further seeds, and E to K.

E to K leave the values and shapes that a search measures: constant inputs,
denormals and huge magnitudes, NaN and Inf, other layouts, other sizes, other signs
and the other mode. A case on
which the float32 reference itself fails cannot be judged; it says so and counts
as passed. Another layout, size or mode a candidate may refuse with a clear error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tuner.records import CaseResult
from tuner.verification.cases import WINNER, Case, Draw
from tuner.verification.guarded_model import REFUSALS, GuardedModel
from tuner.verification.reference import Reference
from tuner.verification.suite import Suite, run_case

BATCH = 4  # samples of a case that is not about the batch


def winner_cases(reference: Reference) -> Iterator[Case | CaseResult]:
    """The cases beyond those of a trial, each made when it is asked for; a result where none can be."""
    draw = Draw(reference, reference.seed + 1, BATCH)
    for make in WINNER:
        yield from make(draw)


def with_seed(suite: Suite, number: int) -> Suite:
    """The cases of a trial once more, on other values; on fewer samples where forwards are slow or large."""
    light, batch, whole = suite.workload, suite.reference.batch, suite.reference
    smaller = whole.is_large and batch is None
    if smaller:
        light = whole.smaller.workload
    elif whole.is_light and batch is not None and light.shapes[batch.inputs[0]][0] > BATCH:
        light = batch.resized(light, min(BATCH, whole.most_samples) if whole.is_large else BATCH)
    budget = suite.reference.error_budget
    other = Suite(suite.problem, light, suite.reference.backend.torch_device, suite.seed + 7919 * number, budget)
    other.cases = [
        dataclasses.replace(case, name=f"{case.name}, seed {number}", may_refuse=smaller) for case in other.cases
    ]
    return other


def answer(candidate: GuardedModel, case: Case) -> CaseResult:
    """One case; a clear error is an answer where the case may be refused."""
    try:
        result = run_case(candidate, case)
    except REFUSALS as error:
        return raised(case, error)
    return case.told(result)


def raised(case: Case, error: Exception) -> CaseResult:
    """What an exception means: a refusal where one may refuse, unless the device no longer works."""
    text = str(error).strip().splitlines()
    line = text[0][:300] if text else ""
    refused = case.may_refuse and bool(line) and case.reference.backend.is_healthy()
    detail = f"refused: {line}" if refused else f"{type(error).__name__}: {line}"
    return CaseResult(name=case.name, ok=refused, detail=detail)
