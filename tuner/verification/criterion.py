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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from tuner.records import CaseResult
from tuner.verification.answers import Answer
from tuner.verification.parameters import State, Tensors
from tuner.verification.pieces import chunks

ROUNDINGS = 4  # of the largest result, allowed beside the reference's own error
LARGEST_RATIO = 1e300  # stands for an infinite one, which JSON has no number for


class Wrong(Exception):
    """A candidate failed verification; the text says how."""


@dataclass(frozen=True)
class Kind:
    """What is known of an oracle's elements, also when it is not kept."""

    scale: float  # the largest finite magnitude; 0 without one
    all_finite: bool
    any_finite: bool
    undecided: bool  # of integers: a rounding decides every element

    @classmethod
    def of(cls, oracle: torch.Tensor, ties: torch.Tensor | None) -> Kind:
        finite = oracle.isfinite()
        undecided = ties is not None and ties.numel() > 0 and bool(ties.all())
        return cls(largest_finite(oracle), bool(finite.all()), bool(finite.any()), undecided)

    def and_of(self, other: Kind) -> Kind:
        """Of the elements of both."""
        return Kind(
            max(self.scale, other.scale),
            self.all_finite and other.all_finite,
            self.any_finite or other.any_finite,
            self.undecided and other.undecided,
        )


@dataclass(frozen=True)
class ExpectedTensor:
    """What one tensor of an answer, a result or a buffer that the forward changes, is compared with.

    Where the oracle is not kept, `oracle` is all NaN and `eager` holds any values, both without memory.
    """

    name: str  # "" for the only result
    oracle: torch.Tensor  # float64 where the result is floating-point
    eager: torch.Tensor  # the reference's own; a candidate's has its shape, dtype and device
    reference_error: float
    allowed: float  # largest |y - Y| of a right one
    ties: torch.Tensor | None = None  # of integers: which elements a rounding decides, so that any value will do
    known: Kind | None = None  # of an oracle that is not kept

    @property
    def kind(self) -> Kind:
        return self.known or Kind.of(self.oracle, self.ties)

    @property
    def scale(self) -> float:
        """The largest finite magnitude of the oracle; 0 without one."""
        return self.known.scale if self.known else largest_finite(self.oracle)

    @property
    def is_buffer(self) -> bool:
        return self.name.startswith("buffer ")


@dataclass(frozen=True)
class OraclePiece:
    """The oracle's results of some samples, and the ties among them; `of` takes their part of all samples' results."""

    of: Callable[[Tensors], Tensors]
    oracle: Tensors
    ties: Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Expectation:
    """What an answer is compared with. Stays with whoever judges; a candidate never sees any of it."""

    structure: str  # of the result, as in `Answer`
    parts: tuple[ExpectedTensor, ...]  # the result's tensors in order, then the buffers that the forward changes
    large: int | None  # a PyTorch operator on this many elements is a fall-back; None: not judged
    pieces: Callable[[], Iterable[OraclePiece]] | None = None  # computes an oracle of the results that is not kept

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


def allowed_error(reference_error: float, scale: float, dtype: torch.dtype, error_budget: float) -> float:
    """The largest error of a right result of this dtype, `scale` being the oracle's largest finite magnitude."""
    return error_budget * reference_error + ROUNDINGS * torch.finfo(dtype).eps * scale


def largest_finite(x: torch.Tensor) -> float:
    """The largest finite magnitude of x; 0 without one."""
    largest = _largest([part.double().abs().max() for (part,) in chunks(x)] if x.numel() else [])
    return largest if math.isfinite(largest) else max(_largest_finite(part) for (part,) in chunks(x))


def _largest(maxima: Sequence[torch.Tensor]) -> float:
    """The largest of them, NaN if any is: the device is waited for once."""
    return float(torch.stack(list(maxima)).max()) if maxima else 0.0


def _largest_finite(x: torch.Tensor) -> float:
    finite = x[x.isfinite()]
    return finite.double().abs().max().item() if finite.numel() else 0.0


def error_of(y: torch.Tensor, oracle: torch.Tensor) -> float:
    """Largest |y - Y| over the elements that are finite in both; inf when another element differs in kind."""
    pairs = list(chunks(*torch.broadcast_tensors(y, oracle))) if y.numel() and oracle.numel() else []
    largest = _largest([(part.double() - exact).abs_().max() for part, exact in pairs])
    if math.isfinite(largest):  # so are all elements of both
        return largest
    return max(_error_of(part.double(), exact) for part, exact in pairs)


def _error_of(y: torch.Tensor, oracle: torch.Tensor) -> float:
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
    for part, y in pairs:
        fault = form_fault(part, y)
        if fault is not None:
            which = f"{part.name}: " if part.name else ""
            return CaseResult(name=name, ok=False, detail=which + fault)
    differences = _differences(expected, pairs)
    verdicts = [_verdict(name, *pair, difference) for pair, difference in zip(pairs, differences, strict=True)]
    return next((verdict for verdict in verdicts if not verdict.ok), max(verdicts, key=_share))


def _share(verdict: CaseResult) -> float:
    return (verdict.error or 0.0) / (verdict.allowed or 1.0)


@dataclass(frozen=True)
class _Difference:
    """How a tensor differs from its oracle, in the elements that were compared."""

    error: float = 0.0  # of floating-point numbers
    others: int = 0  # of integers: elements that are other ones
    unwritten: int = 0  # elements that are NaN and should not be

    @classmethod
    def of(cls, y: torch.Tensor, oracle: torch.Tensor, ties: torch.Tensor | None) -> _Difference:
        if not y.is_floating_point():
            other = (y != oracle) & ~ties if ties is not None else y != oracle
            return cls(others=int(other.sum()))
        error = error_of(y, oracle)
        if error < math.inf:
            return cls(error)
        return cls(error, unwritten=sum(int((a.isnan() & ~b.isnan()).sum()) for a, b in chunks(y, oracle)))

    def and_of(self, other: _Difference) -> _Difference:
        return _Difference(max(self.error, other.error), self.others + other.others, self.unwritten + other.unwritten)


def _differences(expected: Expectation, pairs: Sequence[tuple[ExpectedTensor, torch.Tensor]]) -> list[_Difference]:
    """How each tensor, all of which have the right form, differs from its oracle; that of buffers is always kept."""
    kept = pairs if expected.pieces is None else pairs[len(expected.results) :]
    found = [_Difference.of(y, part.oracle, part.ties) for part, y in kept]
    if expected.pieces is None:
        return found
    results = [y for _, y in pairs[: len(expected.results)]]
    differences = [_Difference() for _ in results]
    for piece in expected.pieces():
        mine = zip(piece.of(results), piece.oracle, piece.ties, strict=True)
        differences = [d.and_of(_Difference.of(*each)) for d, each in zip(differences, mine, strict=True)]
    return [*differences, *found]


def _verdict(name: str, expected: ExpectedTensor, y: torch.Tensor, difference: _Difference) -> CaseResult:
    which = f"{expected.name}: " if expected.name else ""
    if not y.is_floating_point():
        count = difference.others
        return CaseResult(name=name, ok=not count, detail=f"{which}{count} elements differ" if count else "")
    error, unwritten = difference.error, difference.unwritten
    ok = error <= expected.allowed
    hint = f" ({unwritten} elements are NaN: not written, or read before written)" if unwritten else ""
    fault = f"error {error:.3g} against the oracle, allowed {expected.allowed:.3g}{hint}"
    return CaseResult(
        name=name,
        ok=ok,
        error=_finite(error),
        allowed=_finite(expected.allowed),
        reference_error=_finite(expected.reference_error),
        detail="" if ok else which + fault,
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
