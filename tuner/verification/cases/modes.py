"""K: the mode that the problem does not leave its model in, where it makes a difference; it may be refused."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.errors import UnjudgeableError
from tuner.records import CaseResult
from tuner.verification.cases.case import Case, winner_case
from tuner.verification.cases.draw import Draw, judgeable


@winner_case
def other_mode(draw: Draw) -> Iterator[Case | CaseResult]:
    """K: evaluation mode for a model that is left in training mode, and the other way round."""
    other = draw.reference.other_mode
    if other is None:
        return
    name = "K training mode" if other.training else "K evaluation mode"
    try:
        other.require_deterministic()
    except UnjudgeableError:
        yield CaseResult(name=name, ok=True, detail="not judged: the reference is random in this mode")
        return
    inner = Draw(other, draw.seed, draw.samples)
    inner.tuned = draw.tuned
    yield judgeable(inner.case(name, inner.plain, may_refuse=True))
