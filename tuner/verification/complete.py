"""Every case there is, once, for what is to be shipped: A to D with several seeds, E to K, and repeats.

E to K leave the values and shapes that a search measures: constant inputs,
denormals and huge magnitudes, NaN and Inf, other layouts, other sizes, other signs
and the other mode. A case on
which the float32 reference itself fails cannot be judged; it says so and counts
as passed. For another layout or size a candidate may refuse with a clear error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from torch import nn

from tuner.records import EXAM_SEEDS, CaseResult, Correctness
from tuner.verification.cases import WINNER, Case, Draw
from tuner.verification.criterion import Wrong
from tuner.verification.guarded_model import GuardedModel
from tuner.verification.reference import Reference
from tuner.verification.suite import OnCase, Outcome, Suite, build, run_case

BATCH = 4  # samples of a case that is not about the batch
REPEATS, MOST_REPEATS = 100, 1000
REPEAT_S = 2.0  # beyond the least number, as many as the reference takes this long for
REPEAT_BATCH = 2  # where forwards are slow
REFUSALS = (RuntimeError, ValueError, NotImplementedError)


def winner_cases(reference: Reference) -> Iterator[Case | CaseResult]:
    """The cases beyond those of a trial, each made when it is asked for; a result where none can be."""
    draw = Draw(reference, reference.seed + 1, BATCH)
    for make in WINNER:
        yield from make(draw)


def run_completely(
    suite: Suite,
    model_new: Callable[..., nn.Module],
    on_case: OnCase = lambda name: None,
    seeds: int = EXAM_SEEDS,
) -> Correctness:
    """Every case for one candidate, which is built anew for other constructor's arguments."""
    found = suite.run(suite.build(model_new), on_case)
    for number in range(2, seeds + 1):
        other = with_seed(suite, number)
        more = other.run(other.build(model_new), on_case)
        found.results += more.results
        found.left |= more.left
        found.error_ratio = max(found.error_ratio, more.error_ratio)
        found.agrees_with_eager = found.agrees_with_eager and more.agrees_with_eager
    ratio = found.error_ratio  # of the values that are measured; beyond them the reference's own may be 0 by luck
    _run_winner_cases(suite.reference, model_new, on_case, found)
    found.error_ratio = ratio
    on_case("repeats")
    found.results.append(_repeats(suite.build(model_new), suite.cases[0]))
    return found.correctness()


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


def _run_winner_cases(
    reference: Reference, model_new: Callable[..., nn.Module], on_case: OnCase, found: Outcome
) -> None:
    built: tuple[Reference, GuardedModel] | None = None
    for case in winner_cases(reference):
        on_case(case.name)
        if isinstance(case, CaseResult):
            found.results.append(case)
            continue
        try:
            if built is None or built[0] is not case.reference:
                built = case.reference, build(model_new, case.reference)
        except REFUSALS as error:
            found.results.append(_raised(case, error))
            continue
        found.add(case, answer(built[1], case), built[1].work)


def answer(candidate: GuardedModel, case: Case) -> CaseResult:
    """One case; a clear error is an answer where the case may be refused."""
    try:
        result = run_case(candidate, case)
    except REFUSALS as error:
        return _raised(case, error)
    return result.with_note(case.note)


def _raised(case: Case, error: Exception) -> CaseResult:
    """What an exception means: a refusal where one may refuse, unless the device no longer works."""
    text = str(error).strip().splitlines()
    line = text[0][:300] if text else ""
    refused = case.may_refuse and bool(line) and case.reference.backend.is_healthy()
    detail = f"refused: {line}" if refused else f"{type(error).__name__}: {line}"
    return CaseResult(name=case.name, ok=refused, detail=detail)


def _repeats(candidate: GuardedModel, case: Case) -> CaseResult:
    """Whether the same call again and again gives the same bits, each time in memory of its own."""
    reference = case.reference
    batch = reference.batch if reference.is_light else None
    inputs = case.inputs if batch is None else batch.first(case.inputs, REPEAT_BATCH)
    count = max(REPEATS, min(MOST_REPEATS, int(REPEAT_S / reference.forward_s)))
    name = f"{count} repeats"
    try:
        candidate.repeat(case.state, inputs, count)
    except Wrong as wrong:
        return CaseResult(name=name, ok=False, detail=str(wrong))
    except Exception as error:  # whatever a candidate raises
        return CaseResult(name=name, ok=False, detail=f"{type(error).__name__}: {error}"[:300])
    return CaseResult(name=name, ok=True)
