"""A complete exam in this process: every case, several seeds, repeats. What judge and bench do as two."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from tuner.records import EXAM_SEEDS, CaseResult, Correctness
from tuner.verification.cases import Case
from tuner.verification.complete import answer, raised, winner_cases, with_seed
from tuner.verification.criterion import Wrong
from tuner.verification.guarded_model import REFUSALS, GuardedModel
from tuner.verification.reference import Reference
from tuner.verification.suite import Outcome, Suite, build

REPEATS, MOST_REPEATS = 100, 1000
REPEAT_S = 2.0  # beyond the least number, as many as the reference takes this long for
REPEAT_BATCH = 2  # where forwards are slow


def run_completely(
    suite: Suite,
    model_new: Callable[..., nn.Module],
    seeds: int = EXAM_SEEDS,
) -> Correctness:
    """Every case for one candidate, which is built anew for other constructor's arguments."""
    found = suite.run(suite.build(model_new))
    for number in range(2, seeds + 1):
        other = with_seed(suite, number)
        more = other.run(other.build(model_new))
        found.results += more.results
        found.left |= more.left
        found.error_ratio = max(found.error_ratio, more.error_ratio)
        found.agrees_with_eager = found.agrees_with_eager and more.agrees_with_eager
    ratio = found.error_ratio  # of the values that are measured; beyond them the reference's own may be 0 by luck
    _run_winner_cases(suite.reference, model_new, found)
    found.error_ratio = ratio
    found.results.append(_repeats(suite.build(model_new), suite.cases[0]))
    return found.correctness()


def _run_winner_cases(reference: Reference, model_new: Callable[..., nn.Module], found: Outcome) -> None:
    built: tuple[Reference, GuardedModel] | None = None
    for case in winner_cases(reference):
        if isinstance(case, CaseResult):
            found.results.append(case)
            continue
        try:
            if built is None or built[0] is not case.reference:
                built = case.reference, build(model_new, case.reference)
        except REFUSALS as error:
            found.results.append(raised(case, error))
            continue
        found.add(case, answer(built[1], case), built[1].work)


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
