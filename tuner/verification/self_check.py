"""The suite checks itself: it has to reject the mutants of a problem's own reference, and pass the honest models.

If a mutant passes every case, the suite cannot judge this problem. A mutant that a
problem has no place for, or that changes nothing even in float64, is left out with
its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tuner import problem
from tuner.records import Workload
from tuner.verification.cases import Case
from tuner.verification.changed import ChangedModel, Inapplicable
from tuner.verification.complete import BATCH, answer, winner_cases
from tuner.verification.criterion import error_of, largest_finite
from tuner.verification.guarded_model import GuardedModel
from tuner.verification.guards import same_bits
from tuner.verification.honest import honest_models
from tuner.verification.mutants import Mutant, mutants
from tuner.verification.parameters import Tensors, doubled, load_state
from tuner.verification.preconditions import Batch, same_answers
from tuner.verification.reference import Reference
from tuner.verification.suite import Suite
from tuner.verification.tf32 import tf32_flags

EQUAL = 1e-9  # in float64, relative to the largest result: a change below this is none


@dataclass
class SelfCheck:
    """What became of the mutants and the honest models of one problem and workload."""

    caught: dict[str, str] = field(default_factory=dict)  # mutant -> the case that caught it
    missed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # mutant -> why it is none here
    passed: list[str] = field(default_factory=list)  # honest models that passed
    refused: dict[str, str] = field(default_factory=dict)  # honest model -> the case that it failed, and how

    @property
    def fault(self) -> str:
        """Why this problem cannot be judged, in one line; "" when it can."""
        return f"the suite finds nothing wrong with {', '.join(self.missed)}" if self.missed else ""


def self_check(
    loaded: problem.Problem,
    workload: Workload,
    device: str,
    seed: int,
    error_budget: float = 8.0,
    on_model: Callable[[str], None] = lambda name: None,
    with_honest: bool = True,
) -> SelfCheck:
    """Send every mutant (and every honest model) through all cases of a workload of a few samples."""
    whole = Reference(loaded, workload, device, seed, error_budget)
    if whole.is_large:
        workload = whole.smaller.workload
    elif whole.batch is not None and workload.shapes[whole.batch.inputs[0]][0] > BATCH:
        workload = whole.batch.resized(workload, BATCH)
    suite = Suite(loaded, workload, device, seed, error_budget)
    batch = suite.reference.batch
    cases = _all_cases(suite)
    found = SelfCheck()
    for mutant in mutants(suite.reference.model, batch):
        on_model(mutant.name)
        _try_mutant(mutant, suite.reference, cases, found)
    for model in honest_models(batch) if with_honest else []:
        on_model(model.name)
        _try_honest(model, cases, found)
    if found.missed and not _runs_in_fp32(suite.reference, cases[0]):
        _leave_to_tf32(found, suite, batch)
    return found


def _all_cases(suite: Suite) -> list[Case]:
    return [*suite.cases, *(case for case in winner_cases(suite.reference) if isinstance(case, Case))]


def _try_mutant(mutant: Mutant, reference: Reference, cases: Sequence[Case], found: SelfCheck) -> None:
    try:
        failure = _first_failure(mutant, cases)
    except Inapplicable as reason:
        found.left_out[mutant.name] = str(reason)
        return
    if failure is not None:
        found.caught[mutant.name] = failure
        return
    reason_none = _no_mutant(mutant, reference, cases)
    if reason_none is None:
        found.missed.append(mutant.name)
    else:
        found.left_out[mutant.name] = reason_none


def _try_honest(model: ChangedModel, cases: Sequence[Case], found: SelfCheck) -> None:
    try:
        failure = _first_failure(model, cases)
    except Inapplicable:
        return
    if failure is None:
        found.passed.append(model.name)
    else:
        found.refused[model.name] = failure


def _leave_to_tf32(found: SelfCheck, suite: Suite, batch: Batch | None) -> None:
    """Leave out the missed mutants that the same cases catch once the reference runs in fp32.

    Where the reference rounds its operands to TF32, that error is what a candidate may make:
    a mutant that errs less (an unbiased variance of 600,000 values) is none in this class.
    """
    exact = suite.workload.with_precision("ieee")
    with tf32_flags(False, False):
        other = Suite(
            suite.problem, exact, suite.reference.backend.torch_device, suite.seed, suite.reference.error_budget
        )
        cases = _all_cases(other)
        for mutant in mutants(other.reference.model, batch):
            if mutant.name in found.missed:
                failure = _first_failure(mutant, cases)
                if failure is not None:
                    found.missed.remove(mutant.name)
                    found.left_out[mutant.name] = f"smaller than TF32's own error; in fp32 caught by {failure}"


def _first_failure(change: ChangedModel, cases: Sequence[Case]) -> str | None:
    """The first case that a changed model fails, with what was said; None when it passes all."""
    built: tuple[Reference, GuardedModel] | None = None
    for case in cases:
        if built is None or built[0] is not case.reference:
            built = case.reference, GuardedModel(change.of(case.reference.model), case.reference.backend)
        result = answer(built[1], case)
        if not result.ok:
            return f"{case.name}: {result.detail}"
    return None


def _no_mutant(mutant: Mutant, reference: Reference, cases: Sequence[Case]) -> str | None:
    """Why a mutant that passes is not wrong here; None when it is."""
    own = [case for case in cases if case.reference is reference]
    if not any(_differs(mutant, reference, reference.model, case, 0.0) for case in own):
        return "it changes no bit of the result"
    if mutant.name == "TF32 operands":
        return None if _runs_in_fp32(reference, cases[0]) else "the reference runs in TF32 itself"
    if mutant.name == "bf16" and _is_allowed(torch.bfloat16, reference):
        return f"a rounding to bfloat16 is within the error budget of {reference.workload.dtype}"
    if mutant.rounding or any(_differs(mutant, reference, reference.double, case, EQUAL) for case in own):
        return None
    return "it makes no difference to the result"


def _is_allowed(dtype: torch.dtype, reference: Reference) -> bool:
    """Whether a rounding to `dtype` is no more than the error budget allows of the reference's own."""
    own: torch.dtype = getattr(torch, reference.workload.dtype)
    return torch.finfo(dtype).eps <= reference.error_budget * torch.finfo(own).eps


def _differs(mutant: Mutant, reference: Reference, model: nn.Module, case: Case, share: float) -> bool:
    """Whether a mutant of `model`, the reference or that in float64, gives a result that is off by this share of it.

    With a share of 0 any other bit counts.
    """
    here = [x.to(reference.device) for x in case.inputs]
    inputs = here if model is reference.model else [doubled(x) for x in here]

    def tensors(of: nn.Module) -> Tensors:
        load_state(model, case.state)
        with torch.no_grad():
            return [y.clone() for y in problem.tensors_of(of(*inputs))]

    pairs = list(zip(tensors(mutant.of(model)), tensors(model), strict=True))
    if share == 0.0:
        return not all(same_bits(y, right) for y, right in pairs)
    return any(not error_of(y, right.double()) <= share * largest_finite(right) for y, right in pairs)


def _runs_in_fp32(reference: Reference, case: Case) -> bool:
    """Whether the reference, as its precision class takes it, rounds no operand to TF32."""
    if reference.workload.precision != "match":
        return reference.workload.precision == "ieee"
    default = reference.eager(case.state, case.inputs)
    with tf32_flags(False, False):
        return same_answers(reference.eager(case.state, case.inputs), default)
