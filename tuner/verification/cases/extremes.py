"""E to G and J: constant, tiny, huge, negative and non-finite inputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch

from tuner.records import CaseResult
from tuner.verification.cases.case import Case, winner_case
from tuner.verification.cases.draw import Draw, conditioned, judgeable, taken, within_domain
from tuner.verification.parameters import Tensors

MAGNITUDES = (1e18, 1e15, 1e12, 1e9, 1e6, 1e3)  # the first at which the reference is right is judged
LEAST, MOST = 10.0, 1e4  # magnitudes of case J


def floats(inputs: Tensors, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    """The inputs, those of floating-point numbers changed: others keep the problem's own values."""
    return [change(x) if x.is_floating_point() else x for x in inputs]


@winner_case
def constant(draw: Draw) -> Iterator[Case | CaseResult]:
    """E: every element the same."""
    for name, value in (("E constant", 0.5), ("E all zero", 0.0)):
        yield _tried(draw, name, floats(draw.plain, lambda x, value=value: torch.full_like(x, value)))  # type: ignore[misc]


@winner_case
def denormals(draw: Draw) -> Iterator[Case | CaseResult]:
    """F: below the smallest normal number."""
    yield _tried(draw, "F denormals", floats(draw.moved(), lambda x: x * (torch.finfo(x.dtype).tiny / 100)))


@winner_case
def magnitude(draw: Draw) -> Iterator[Case | CaseResult]:
    """F: as large as the reference bears."""
    inputs, largest = draw.moved(), MAGNITUDES[0]
    for size in MAGNITUDES:
        found = _tried(draw, "F magnitude", floats(inputs, lambda x, size=size: x * size))  # type: ignore[misc]
        if isinstance(found, Case):
            break
    if size == largest:
        yield found
        return
    note = f"not judged at {largest:g}: the reference itself is not right there"
    if isinstance(found, Case):
        yield dataclasses.replace(found, note=f"{note}; judged at {size:g}")
    else:
        yield CaseResult(name=found.name, ok=True, detail=note)


def _tried(draw: Draw, name: str, inputs: Tensors) -> Case | CaseResult:
    """The case of values that may be beyond the problem's domain, and beyond what the reference bears."""
    found = taken(name, lambda: within_domain(draw.case(name, inputs)))
    return judgeable(conditioned(found)) if isinstance(found, Case) else found


@winner_case
def not_finite(draw: Draw) -> Iterator[Case | CaseResult]:
    """G: one element of one sample, which leaves the other samples as they are.

    The last one of a long row weighs less than a rounding to a half-precision type; as a NaN it is missed in any.
    """
    for name, value in (("G NaN in one sample", math.nan), ("G Inf in one sample", math.inf)):
        yield _with(draw, name, value)
    yield _with(draw, "G NaN ends one sample", math.nan, at_end=True)


def _with(draw: Draw, name: str, value: float, at_end: bool = False) -> Case | CaseResult:
    return taken(name, lambda: judgeable(draw.case(name, _with_one(draw, value, at_end))))


def _with_one(draw: Draw, value: float, at_end: bool) -> Tensors:
    """Inputs with this value at one element of each, in a sample of the middle."""

    def put(x: torch.Tensor) -> torch.Tensor:
        if x.numel():
            row = x.numel() // x.shape[0] if x.dim() else 1
            x.view(-1)[x.numel() // row // 2 * row + (row - 1 if at_end else row // 3)] = value
        return x

    return floats(draw.moved(), put)


@winner_case
def other_signs(draw: Draw) -> Iterator[Case | CaseResult]:
    """J: the problem's values negated; magnitudes of 10 to 1e4, negative and of both signs; -Inf."""
    yield _tried(draw, "J negated", floats(draw.moved(), torch.neg))
    yield _tried(draw, "J large and negative", floats(draw.moved(), lambda x: -_spread(draw, x).to(x)))
    yield _tried(draw, "J large, of both signs", floats(draw.moved(), lambda x: _signed(draw, _spread(draw, x)).to(x)))
    yield _with(draw, "J -Inf in one sample", -math.inf)


def _spread(draw: Draw, x: torch.Tensor) -> torch.Tensor:
    """Random values of x's shape, of one magnitude in each row along the last dimension, which differ by 10 %."""
    rows = (*x.shape[:-1], 1) if x.dim() else ()
    exponent = torch.rand(rows, generator=draw.rng, device=x.device)
    near = 1 + 0.1 * torch.rand(x.shape, generator=draw.rng, device=x.device)
    return LEAST * (MOST / LEAST) ** exponent * near


def _signed(draw: Draw, x: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.rand(x.shape, generator=draw.rng, device=x.device) < 0.5, -x, x)
