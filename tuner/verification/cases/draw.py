"""Fresh values for the cases of one reference."""

from __future__ import annotations

import dataclasses
import functools

import torch

from tuner.problem import sizes
from tuner.records import CaseResult, Workload
from tuner.verification.cases.case import Case, Values
from tuner.verification.cases.values import random_affine
from tuner.verification.criterion import error_of
from tuner.verification.normalisation import Norm, Normalising
from tuner.verification.parameters import Tensors
from tuner.verification.reference import Reference

FEW = 8  # with fewer results than this, the reference's error is the largest of several draws
USELESS = 1e-2  # a reference with this error, relative to the largest result, proves nothing


class Draw:
    """Values for cases of `reference`, all of which follow from `seed`, a secret that no candidate is told.

    `samples` is how many samples the inputs have at most; None: as many as the workload says.
    """

    def __init__(self, reference: Reference, seed: int, samples: int | None = None) -> None:
        self.reference, self.seed, self.samples = reference, seed, samples
        self.rng = torch.Generator(reference.device).manual_seed(seed + 1)

    @functools.cached_property
    def plain(self) -> Tensors:
        """Inputs as the problem makes them."""
        given = self.reference.inputs(self.seed)
        return given if self.samples is None else [x[: self.samples].clone() for x in given]

    @functools.cached_property
    def odd(self) -> Workload:
        """The workload with odd and prime sizes, as far as the reference takes them."""
        return sizes.odd(self.reference.problem, self.reference.workload)

    def moved(self) -> Tensors:
        """The plain inputs, each rolled by a random number of elements: new values at no cost."""
        by = [int(torch.randint(x.numel(), (1,), generator=self.rng, device=x.device)) for x in self.plain]
        return [x.flatten().roll(n).view_as(x) for x, n in zip(self.plain, by, strict=True)]

    def case(self, name: str, inputs: Tensors, values: Values = random_affine, may_refuse: bool = False) -> Case:
        """The case that `values` makes of these inputs."""
        state, inputs = values(self.reference, inputs, self.rng)
        expected = self.reference.expectation(state, inputs)
        return Case(name, self.reference, state, inputs, expected, may_refuse)

    def sized(self, name: str, workload: Workload, values: Values) -> Case:
        """A case of other sizes, its inputs uniform in [0, 1), which a candidate may refuse.

        The reference's error on few results is that of several draws.
        """
        case = self._uniform(name, workload, values)
        more = [self._uniform(name, workload, values) for _ in range(-(-FEW // case.expected.oracle.numel()) - 1)]
        expectations = [drawn.expected for drawn in (case, *more)]
        error = max(expected.reference_error for expected in expectations)
        allowed = max(expected.allowed for expected in expectations)
        expected = dataclasses.replace(case.expected, reference_error=error, allowed=allowed)
        return conditioned(dataclasses.replace(case, expected=expected))

    def _uniform(self, name: str, workload: Workload, values: Values) -> Case:
        inputs = [
            torch.rand(s.shape, dtype=getattr(torch, s.dtype), generator=self.rng, device=self.reference.device)
            for s in workload.inputs
        ]
        return self.case(name, inputs, values, may_refuse=True)


def conditioned(case: Case) -> Case:
    """The case with what one rounding of a mean costs allowed, too.

    Where a variance is nearly 0, that rounding decides the error, and the
    reference's own may be 0 by luck.
    """
    with Normalising(_rounded_mean):
        cost = error_of(case.reference.oracle(case.state, case.inputs), case.expected.oracle)
    if cost == float("inf"):
        return case
    allowed = max(case.expected.allowed, case.reference.error_budget * cost)
    return dataclasses.replace(case, expected=dataclasses.replace(case.expected, allowed=allowed))


def _rounded_mean(norm: Norm) -> torch.Tensor:
    """Normalisation whose mean is off by one rounding to float32."""
    mean = norm.mean()
    return norm.finish(mean * (1 + torch.finfo(torch.float32).eps), norm.variance(mean))


def judgeable(case: Case) -> Case | CaseResult:
    """The case; where the reference itself is not right, the result that says so."""
    scale = case.expected.scale if bool(case.expected.oracle.isfinite().any()) else 1.0
    if case.expected.reference_error <= USELESS * scale:
        return case
    return CaseResult(name=case.name, ok=True, detail="not judged: the float32 reference itself is not right here")
