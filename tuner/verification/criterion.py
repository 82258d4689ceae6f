"""The criterion: what a result must be, and whether it is.

A result y is right when it has the expected type, shape, dtype and device, NaN
and Inf exactly where the oracle Y has them, and

    max |y - Y| <= error_budget * E + 4 * eps * max |Y|

where Y is the reference in float64 and E the largest error of the reference as
the user runs it. Nothing here calls a candidate or needs one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tuner.records import CaseResult
from tuner.verification.answers import Answer
from tuner.verification.parameters import State

ROUNDINGS = 4  # of the largest result, allowed beside the reference's own error
LARGEST_RATIO = 1e300  # stands for an infinite one, which JSON has no number for


class Wrong(Exception):
    """A candidate failed verification; the text says how."""


@dataclass(frozen=True)
class ExpectedTensor:
    """What one tensor of an answer, a result or a buffer that the forward changes, is compared with."""

    name: str  # "" for the only result
    oracle: torch.Tensor  # float64 where the result is floating-point
    eager: torch.Tensor  # the reference's own; a candidate's has its shape, dtype and device
    reference_error: float
    allowed: float  # largest |y - Y| of a right one
    ties: torch.Tensor | None = None  # of integers: which elements a rounding decides, so that any value will do

    @property
    def scale(self) -> float:
        """The largest finite magnitude of the oracle; 0 without one."""
        return largest_finite(self.oracle)

    @property
    def is_buffer(self) -> bool:
        return self.name.startswith("buffer ")


@dataclass(frozen=True)
class Expectation:
    """What an answer is compared with. Stays with whoever judges; a candidate never sees any of it."""

    structure: str  # of the result, as in `Answer`
    parts: tuple[ExpectedTensor, ...]  # the result's tensors in order, then the buffers that the forward changes
    large: int | None  # a PyTorch operator on this many elements is a fall-back; None: not judged

    @property
    def main(self) -> ExpectedTensor:
        """The only result, or the first of several."""
        return self.parts[0]

    @property
    def results(self) -> tuple[ExpectedTensor, ...]:
        return tuple(part for part in self.parts if not part.is_buffer)

    def with_errors(self, reference: Sequence[float], allowed: Sequence[float]) -> Expectation:
        """The same expectation with other errors, one of each for every part."""
        parts = [
            dataclasses.replace(part, reference_error=own, allowed=most)
            for part, own, most in zip(self.parts, reference, allowed, strict=True)
        ]
        return dataclasses.replace(self, parts=tuple(parts))


def allowed_error(reference_error: float, oracle: torch.Tensor, dtype: torch.dtype, error_budget: float) -> float:
    """The largest error of a right result of this dtype."""
    return error_budget * reference_error + ROUNDINGS * torch.finfo(dtype).eps * largest_finite(oracle)


def largest_finite(x: torch.Tensor) -> float:
    """The largest finite magnitude of x; 0 without one."""
    finite = x[x.isfinite()]
    return finite.double().abs().max().item() if finite.numel() else 0.0


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


def judge(name: str, expected: Expectation, result: object) -> CaseResult:
    """Whether the answer of a forward, or its bare result, is what the case `name` expects.

    Of several tensors the one with the largest share of its allowed error is in the verdict.
    Buffers are compared where the answer has them.
    """
    try:
        answer = result if isinstance(result, Answer) else Answer.of(result)
    except TypeError as error:
        return CaseResult(name=name, ok=False, detail=str(error))
    if answer.structure != expected.structure:
        return CaseResult(name=name, ok=False, detail=f"returned {answer.structure}, expected {expected.structure}")
    pairs = list(zip(expected.results, answer.tensors, strict=True))
    if answer.buffers:
        changed = [part for part in expected.parts if part.is_buffer]
        pairs += [(part, answer.buffers[part.name.removeprefix("buffer ")]) for part in changed]
    verdicts = [_judge_tensor(name, part, y) for part, y in pairs]
    return next((verdict for verdict in verdicts if not verdict.ok), max(verdicts, key=_share))


def _share(verdict: CaseResult) -> float:
    return (verdict.error or 0.0) / (verdict.allowed or 1.0)


def _judge_tensor(name: str, expected: ExpectedTensor, y: torch.Tensor) -> CaseResult:
    which = f"{expected.name}: " if expected.name else ""
    fault = form_fault(expected, y)
    if fault is not None:
        return CaseResult(name=name, ok=False, detail=which + fault)
    if not y.is_floating_point():
        other = (y != expected.oracle) & ~expected.ties if expected.ties is not None else y != expected.oracle
        count = int(other.sum())
        return CaseResult(name=name, ok=not count, detail=f"{which}{count} elements differ" if count else "")
    error = error_of(y, expected.oracle)
    ok = error <= expected.allowed
    return CaseResult(
        name=name,
        ok=ok,
        error=_finite(error),
        allowed=_finite(expected.allowed),
        reference_error=_finite(expected.reference_error),
        detail="" if ok else which + _value_fault(expected, y, error),
    )


def form_fault(expected: ExpectedTensor, y: torch.Tensor) -> str | None:
    """How a tensor's shape, dtype or device differs from what is expected; None when it does not."""
    if y.shape != expected.eager.shape:
        return f"shape {tuple(y.shape)}, expected {tuple(expected.eager.shape)}"
    if y.dtype != expected.eager.dtype:
        return f"dtype {y.dtype}, expected {expected.eager.dtype}"
    if y.device != expected.eager.device:
        return f"on {y.device}, expected {expected.eager.device}"
    return None


def _value_fault(expected: ExpectedTensor, y: torch.Tensor, error: float) -> str:
    unwritten = int((y.isnan() & ~expected.oracle.isnan()).sum())
    hint = f" ({unwritten} elements are NaN: not written, or read before written)" if unwritten else ""
    return f"error {error:.3g} against the oracle, allowed {expected.allowed:.3g}{hint}"


def error_ratio(verdict: CaseResult) -> float:
    """A verdict's error over the reference's own; over what is allowed when the reference makes none; 0 without one."""
    if not verdict.error or verdict.allowed is None:
        return 0.0
    own = verdict.reference_error or max(verdict.allowed, 1 / LARGEST_RATIO)
    return min(verdict.error / own, LARGEST_RATIO)


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
