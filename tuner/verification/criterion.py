"""The criterion: what a result must be, and whether it is.

A result y is right when it has the expected type, shape, dtype and device, NaN
and Inf exactly where the oracle Y has them, and

    max |y - Y| <= error_budget * E + 4 * eps * max |Y|

where Y is the reference in float64 and E the largest error of the reference as
the user runs it. Nothing here calls a candidate or needs one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tuner.records import CaseResult
from tuner.verification.parameters import State

ROUNDINGS = 4  # of the largest result, allowed beside the reference's own error
LARGEST_RATIO = 1e300  # stands for an infinite one, which JSON has no number for


class Wrong(Exception):
    """A candidate failed verification; the text says how."""


@dataclass(frozen=True)
class Expectation:
    """What a result is compared with. Stays with whoever judges; a candidate never sees any of it."""

    oracle: torch.Tensor  # float64
    eager: torch.Tensor  # the reference's own result; a candidate's has its shape, dtype and device
    reference_error: float
    allowed: float  # largest |y - Y| of a right result
    large: int | None  # a PyTorch operator on this many elements is a fall-back; None: not judged

    @property
    def scale(self) -> float:
        """The largest finite magnitude of the oracle; 0 without one."""
        return largest_finite(self.oracle)


def allowed_error(reference_error: float, oracle: torch.Tensor, dtype: torch.dtype, error_budget: float) -> float:
    """The largest error of a right result of this dtype."""
    return error_budget * reference_error + ROUNDINGS * torch.finfo(dtype).eps * largest_finite(oracle)


def largest_finite(x: torch.Tensor) -> float:
    """The largest finite magnitude of x; 0 without one."""
    finite = x[x.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def error_of(y: torch.Tensor, oracle: torch.Tensor) -> float:
    """Largest |y - Y| over the elements that are finite in both; inf when another element differs in kind."""
    y = y.double()
    finite = oracle.isfinite()
    same_kind = (y.isnan() == oracle.isnan()) & ((y == oracle) | ~oracle.isinf()) & (y.isfinite() == finite)
    if not bool(same_kind.all()):
        return math.inf
    if not bool(finite.any()):
        return 0.0
    return (y - oracle)[finite].abs().max().item()


# ---- judging a result ------------------------------------------------------------------------------


def judge(name: str, expected: Expectation, y: object) -> CaseResult:
    """Whether a result is what the case `name` expects."""
    fault = form_fault(expected, y)
    if fault is not None:
        return CaseResult(name=name, ok=False, detail=fault)
    assert isinstance(y, torch.Tensor)
    error = error_of(y, expected.oracle)
    ok = error <= expected.allowed
    return CaseResult(
        name=name,
        ok=ok,
        error=_finite(error),
        allowed=_finite(expected.allowed),
        reference_error=_finite(expected.reference_error),
        detail="" if ok else _value_fault(expected, y, error),
    )


def form_fault(expected: Expectation, y: object) -> str | None:
    """How a result's type, shape, dtype or device differs from what is expected; None when it does not."""
    if type(y) is not torch.Tensor:
        return f"returned a {type(y).__name__}, not a plain tensor"
    if y.shape != expected.eager.shape:
        return f"shape {tuple(y.shape)}, expected {tuple(expected.eager.shape)}"
    if y.dtype != expected.eager.dtype:
        return f"dtype {y.dtype}, expected {expected.eager.dtype}"
    if y.device != expected.eager.device:
        return f"on {y.device}, expected {expected.eager.device}"
    return None


def _value_fault(expected: Expectation, y: torch.Tensor, error: float) -> str:
    unwritten = int((y.isnan() & ~expected.oracle.isnan()).sum())
    hint = f" ({unwritten} elements are NaN: not written, or read before written)" if unwritten else ""
    return f"error {error:.3g} against the oracle, allowed {expected.allowed:.3g}{hint}"


def error_ratio(expected: Expectation, error: float) -> float:
    """The candidate's error over the reference's own; over what is allowed when the reference makes none."""
    if error == 0:
        return 0.0
    own = expected.reference_error if expected.reference_error > 0 else max(expected.allowed, 1 / LARGEST_RATIO)
    return min(error / own, LARGEST_RATIO)


def require_parameters(mine: State, reference: State) -> None:
    """Raise Wrong unless a new candidate's parameters are the reference's: names, order, shapes, initial values."""
    if list(mine) != list(reference):
        raise Wrong(f"parameters are {list(mine)}, the reference's are {list(reference)}")
    for name, value in reference.items():
        if mine[name].shape != value.shape or mine[name].dtype != value.dtype:
            raise Wrong(f"parameter {name} is {tuple(mine[name].shape)}, the reference's {tuple(value.shape)}")
        if not torch.equal(mine[name].cpu(), value.cpu()):
            raise Wrong(f"parameter {name} is initialised with other values than the reference's")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---- TF32 ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def tf32_flags(matmul: bool, cudnn: bool) -> Iterator[None]:
    """The TF32 switches set to these values, and put back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 rounded to TF32's 10 mantissa bits, to nearest with ties away (PTX `cvt.rna.tf32.f32`)."""
    bits = x.contiguous().view(torch.int32)
    rounded = ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x)


@contextlib.contextmanager
def rounded_operands(model: nn.Module) -> Iterator[None]:
    """Inside, the inputs of every multiplying layer are rounded to TF32; weights are the caller's to round."""

    def pre(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(round_to_tf32(x) for x in args)

    multiplying = (nn.Linear, nn.modules.conv._ConvNd)
    hooks = [m.register_forward_pre_hook(pre) for m in model.modules() if isinstance(m, multiplying)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
