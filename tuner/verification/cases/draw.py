"""Fresh values for the cases of one reference."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import torch

from tuner import problem
from tuner.errors import ProblemError
from tuner.problem import sizes
from tuner.records import CaseResult, Workload
from tuner.verification import in_pieces
from tuner.verification.cases.case import Case, Values
from tuner.verification.cases.values import random_affine
from tuner.verification.criterion import Expectation, error_of
from tuner.verification.normalisation import Norm, Normalising
from tuner.verification.parameters import State, Tensors
from tuner.verification.reference import Reference

FEW = 8  # with fewer results than this, the reference's error is the largest of several draws
FEW_OF_LARGE = 3  # the same where every draw takes long
NOT_TAKEN = "not judged: the reference does not take it"
USELESS = 1e-2  # a reference with this error, relative to the largest result, proves nothing


class Draw:
    """Values for cases of `reference`, all of which follow from `seed`, a secret that no candidate is told.

    `samples` is how many samples the inputs have at most; None: as many as the workload says. Of a large
    workload they may be fewer still, and where it has no batch the cases are of odd sizes, which may be refused.
    """

    def __init__(self, reference: Reference, seed: int, samples: int | None = None) -> None:
        self.may_refuse, self.tuned = False, reference
        if samples is not None and reference.is_large:
            samples = min(samples, reference.most_samples)
            if reference.batch is None:
                reference, self.may_refuse = reference.smaller, True
        self.reference, self.seed, self.samples = reference, seed, samples
        self.rng = torch.Generator(reference.device).manual_seed(seed + 1)

    @functools.cached_property
    def plain(self) -> Tensors:
        """Inputs as the problem makes them."""
        if self.samples is not None and self.reference.batch is not None:
            return self.reference.few_inputs(self.seed, self.samples)
        return self.reference.inputs(self.seed)

    @functools.cached_property
    def odd(self) -> Workload:
        """The workload with odd and prime sizes, as far as the reference takes them."""
        return sizes.odd(self.reference.problem, self.reference.workload, self.plain)

    def moved(self) -> Tensors:
        """The plain inputs, each rolled by a random number of elements: new values at no cost."""
        return [x.flatten().roll(self.below(x.numel())).view_as(x) for x in self.plain]

    def below(self, limit: int) -> int:
        """A random number below `limit`, or 0."""
        return int(torch.randint(max(limit, 1), (1,), generator=self.rng, device=self.rng.device))

    def case(self, name: str, inputs: Tensors, values: Values = random_affine, may_refuse: bool = False) -> Case:
        """The case that `values` makes of these inputs."""
        state, inputs = values(self.reference, inputs, self.rng)
        expected = self._as_tuned(in_pieces.expectation(self.reference, state, lambda: inputs), state, inputs)
        return Case(name, self.reference, state, inputs, expected, may_refuse or self.may_refuse)

    def _as_tuned(self, expected: Expectation, state: State, inputs: Tensors) -> Expectation:
        """The expectation, with what TF32 costs allowed where the tuned workload runs in it.

        For few samples or odd sizes a library takes other kernels, which may be exact: their error is no measure of
        a candidate that rounds as the library does where it was tuned.
        """
        same = [tuple(x.shape) for x in inputs] == list(self.tuned.workload.shapes)
        if same or expected.pieces is not None or not self.tuned.convolves_in_tf32:
            return expected
        errors = self.reference.tf32_errors(state, inputs, [part.oracle for part in expected.results])
        allowed = [part.allowed for part in expected.parts]
        for number, error in enumerate(errors):
            if error < math.inf:
                allowed[number] = max(allowed[number], self.reference.error_budget * error)
        return expected.with_errors([part.reference_error for part in expected.parts], allowed)

    def of_trial(self, name: str, values: Values) -> Case | CaseResult:
        """The case that `values` makes of plain inputs, of the inputs alone where its own leave the problem's domain.

        Where the result is a few numbers, the reference's error on them is that of several draws.
        """

        found = taken(name, lambda: within_domain(self.case(name, self.plain, values)))
        if isinstance(found, CaseResult):
            values = _of_state(values)
            found = within_domain(self.case(name, self.plain, values))
        if isinstance(found, CaseResult):
            return found
        return judgeable(self._of_several(found, lambda: self.case(name, self.moved(), values)), math.inf)

    def sized(self, name: str, workload: Workload, values: Values) -> Case:
        """A case of other sizes, which a candidate may refuse; the elements of its inputs are the problem's own."""

        def make() -> Case:
            return self.case(name, problem.alike(self.plain, workload.inputs, self.rng), values, may_refuse=True)

        return conditioned(self._of_several(make(), make))

    def _of_several(self, case: Case, make: Callable[[], Case]) -> Case:
        """The case; where its result is a few numbers, with the largest errors of more cases that `make` draws."""
        fewest = min(part.oracle.numel() for part in case.expected.results)
        wanted = FEW_OF_LARGE if case.reference.exceeds(case.inputs) else FEW
        count = -(-wanted // fewest) - 1 if fewest > 0 else 0
        drawn = [case.expected.parts, *(make().expected.parts for _ in range(count))]
        own = [max(part.reference_error for part in parts) for parts in zip(*drawn, strict=True)]
        allowed = [max(part.allowed for part in parts) for parts in zip(*drawn, strict=True)]
        return dataclasses.replace(case, expected=case.expected.with_errors(own, allowed))


def _of_state(values: Values) -> Values:
    """The parameter values alone, with inputs as they are."""
    return lambda reference, inputs, rng: (values(reference, inputs, rng)[0], inputs)


def conditioned(case: Case) -> Case:
    """The case with what one rounding of a mean costs allowed, too.

    Where a variance is nearly 0, that rounding decides the error, and the
    reference's own may be 0 by luck. A large case stays as it is.
    """
    if case.reference.exceeds(case.inputs):
        return case
    with Normalising(_rounded_mean):
        rounded = case.reference.oracle(case.state, case.inputs)
    allowed = [part.allowed for part in case.expected.parts]
    for number, (part, y) in enumerate(zip(case.expected.results, rounded.tensors, strict=True)):
        cost = error_of(y, part.oracle) if y.is_floating_point() else 0.0
        if cost < math.inf:
            allowed[number] = max(part.allowed, case.reference.error_budget * cost)
    own = [part.reference_error for part in case.expected.parts]
    return dataclasses.replace(case, expected=case.expected.with_errors(own, allowed))


def _rounded_mean(norm: Norm) -> torch.Tensor:
    """Normalisation whose mean is off by one rounding to float32."""
    mean = norm.mean()
    return norm.finish(mean * (1 + torch.finfo(torch.float32).eps), norm.variance(mean))


def taken(name: str, make: Callable[[], Case | CaseResult]) -> Case | CaseResult:
    """The case; where the reference refuses its values or layout, a result that says so."""
    try:
        return make()
    except ProblemError:
        return CaseResult(name=name, ok=True, detail=NOT_TAKEN)


def within_domain(case: Case) -> Case | CaseResult:
    """The case; where its oracle is not finite, so that its values are none of the problem's, a result that says so."""
    if all(part.kind.all_finite for part in case.expected.parts):
        return case
    return CaseResult(
        name=case.name, ok=True, detail="not judged: outside the problem's domain, its result is not finite"
    )


def judgeable(case: Case, useless: float = USELESS) -> Case | CaseResult:
    """The case; where the reference itself is not right, the result that says so.

    It is not when its error, relative to the largest result, is above `useless`, or infinite.
    """
    for part in case.expected.parts:
        kind, own = part.kind, part.reference_error
        scale = kind.scale if kind.any_finite else 1.0
        if own == math.inf or (own > 0 and own > useless * scale):
            dtype = str(part.eager.dtype).removeprefix("torch.")
            said = f"not judged: the {dtype} reference itself is not right here"
            return CaseResult(name=case.name, ok=True, detail=said)
        if kind.undecided:
            return CaseResult(name=case.name, ok=True, detail="not judged: a rounding decides every element")
    return case
