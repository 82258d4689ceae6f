"""E to G: constant, tiny, huge and non-finite inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch

from tuner.records import CaseResult
from tuner.verification.cases.case import Case, winner_case
from tuner.verification.cases.draw import Draw, conditioned, judgeable

MAGNITUDES = (1e18, 1e15, 1e12, 1e9)  # the first at which the reference is right is judged


@winner_case
def constant(draw: Draw) -> Iterator[Case | CaseResult]:
    """E: every element the same."""
    for name, value in (("E constant", 0.5), ("E all zero", 0.0)):
        inputs = [torch.full_like(x, value) for x in draw.plain]
        yield judgeable(conditioned(draw.case(name, inputs)))


@winner_case
def denormals(draw: Draw) -> Iterator[Case | CaseResult]:
    """F: below the smallest normal number of float32."""
    yield judgeable(conditioned(draw.case("F denormals", [x * 1e-40 for x in draw.moved()])))


@winner_case
def magnitude(draw: Draw) -> Iterator[Case | CaseResult]:
    """F: as large as the float32 reference bears."""
    inputs, largest = draw.moved(), MAGNITUDES[0]
    for size in MAGNITUDES:
        found = judgeable(conditioned(draw.case("F magnitude", [x * size for x in inputs])))
        if isinstance(found, Case):
            break
    if size == largest:
        yield found
        return
    note = f"not judged at {largest:g}: the float32 reference itself is not right there"
    if isinstance(found, Case):
        yield dataclasses.replace(found, note=f"{note}; judged at {size:g}")
    else:
        yield CaseResult(name=found.name, ok=True, detail=note)


@winner_case
def not_finite(draw: Draw) -> Iterator[Case | CaseResult]:
    """G: one element of one sample."""
    for name, value in (("G NaN in one sample", float("nan")), ("G Inf in one sample", float("inf"))):
        inputs = draw.moved()
        for x in inputs:
            if x.is_floating_point():
                x[x.shape[0] // 2].view(-1)[x[0].numel() // 3] = value
        yield judgeable(draw.case(name, inputs))
