"""Cases too large to keep an oracle of: it is computed piece by piece along the batch, and again for each answer.

Their inputs lie on the CPU. The reference's own error is that of its eager calls on each piece, on the piece in
reverse order and, where memory allows, on the whole. Without a batch the whole is one piece; a mean over samples,
as losses are, is that of its pieces' float64 results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from tuner.errors import UnjudgeableError
from tuner.verification.answers import Answer
from tuner.verification.criterion import Expectation, ExpectedTensor, OraclePiece, allowed_error, error_of
from tuner.verification.parameters import State, Tensors
from tuner.verification.pieces import LEAST_SOME, PIECE_SHARE, SHARE, SOME, Chosen, Piece
from tuner.verification.reference import Reference

GB = 1e9
NO_MEAN = 1e-3  # an eager result that is off by more, relative to the largest, is not the mean of the pieces'

MakeInputs = Callable[[], Tensors]


def expectation(reference: Reference, state: State, make: MakeInputs) -> Expectation:
    """What the answer to the inputs that `make` gives, each time the same ones, has to be.

    Raises UnjudgeableError where neither the whole nor a piece of it fits.
    """
    inputs = make()
    if not reference.exceeds(inputs):
        return reference.expectation(state, inputs)
    if reference.averaged is not None:
        found = _of_mean(reference, state, inputs, reference.averaged)
        if found is not None:
            return found
    eager, whole = _at_once(reference, state, inputs), None
    for piece in pieces(reference, inputs):
        part = reference.expectation(state, piece.inputs)
        part = part if eager is None else _erring_as(reference, part, piece.of(eager))
        whole = _first(part, piece) if whole is None else _joined(reference, whole, part)
    assert whole is not None
    del eager
    reference.backend.release_memory()

    def oracles() -> Iterator[OraclePiece]:
        for piece in pieces(reference, make()):
            oracle = reference.oracle(state, piece.inputs)
            yield OraclePiece(piece.of, oracle.tensors, reference.ties(state, piece.inputs, oracle))
        reference.backend.release_memory()

    return Expectation(whole.structure, whole.parts, whole.large, oracles)


def _at_once(reference: Reference, state: State, inputs: Tensors) -> Tensors | None:
    """Eager's results for all samples in one call; None where that takes more than verification's share of memory.

    Libraries choose an algorithm by the size: cuBLAS sums a product of many rows otherwise than one of few.
    """
    needed, backend = reference.footprint(inputs).forward, reference.backend
    if needed > min(SHARE * backend.memory_bytes(), backend.free_bytes()):
        return None
    with reference.flags():
        return reference.eager(state, inputs).tensors


def _erring_as(reference: Reference, part: Expectation, eager: Tensors) -> Expectation:
    """An expectation whose E covers these results, too, which eager gave for the same samples."""
    parts, results = [], iter(eager)
    for mine in part.parts:
        if not mine.is_buffer:
            y = next(results)
            if y.is_floating_point():
                error = max(mine.reference_error, error_of(y, mine.oracle))
                allowed = allowed_error(error, mine.scale, y.dtype, reference.error_budget)
                mine = replace(mine, reference_error=error, allowed=allowed)
        parts.append(mine)
    return replace(part, parts=tuple(parts))


def _of_mean(reference: Reference, state: State, inputs: Tensors, shared: tuple[int, ...]) -> Expectation | None:
    """The expectation of results that are means over samples; None where eager's own say that they are none."""
    whole, samples = reference.footprint(inputs), inputs[shared[0]].shape[0]
    _require(reference, max(whole.forward, whole.oracle / samples), "its")
    mean: list[torch.Tensor] = []
    step = _step(reference, whole.oracle / samples)
    for start in range(0, samples, step):
        count = min(step, samples - start)
        part = [x.narrow(0, start, count) if number in shared else x for number, x in enumerate(inputs)]
        oracle = reference.oracle(state, part)
        weighted = [y * (count / samples) for y in oracle.tensors]
        mean = [a + b for a, b in zip(mean, weighted, strict=True)] if mean else weighted
    found = reference.expectation(state, inputs, Answer(oracle.structure, mean, oracle.buffers))
    reference.backend.release_memory()
    return found if all(part.reference_error <= NO_MEAN * part.scale for part in found.parts) else None


def some_of(reference: Reference, inputs: Tensors) -> int:
    """How many samples stand for all of a large case; 0 where all have to be looked at."""
    batch, whole = reference.batch, reference.footprint(inputs)
    if batch is None or not reference.exceeds(inputs) or whole.changes_buffers:
        return 0
    samples = batch.size(inputs)
    some = min(SOME, _step(reference, whole.oracle / samples))
    return some if LEAST_SOME <= some < samples / 2 else 0


def expectation_of_some(reference: Reference, state: State, chosen: Chosen) -> Expectation:
    """What the answer to all samples has to be at the chosen ones, whose oracle is kept."""
    part = reference.expectation(state, chosen.inputs)
    oracle, ties = [y.oracle for y in part.results], [y.ties for y in part.results]
    return replace(_first(part, chosen), pieces=lambda: [OraclePiece(chosen.of, oracle, ties)])


def _first(part: Expectation, piece: Piece | Chosen) -> Expectation:
    """The expectation of all samples as far as these tell: without its values, in the shape of all."""
    parts = []
    for number, mine in enumerate(part.parts):
        if mine.is_buffer:
            parts.append(mine)
            continue
        shape = list(mine.eager.shape)
        if piece.dims is not None:
            shape[piece.dims[number]] = piece.all_samples
        nothing = torch.nan if mine.oracle.is_floating_point() else 0
        oracle = torch.full((), nothing, dtype=mine.oracle.dtype, device=mine.oracle.device).expand(shape)
        eager = torch.zeros((), dtype=mine.eager.dtype, device=mine.eager.device).expand(shape)
        parts.append(ExpectedTensor(mine.name, oracle, eager, mine.reference_error, mine.allowed, known=mine.kind))
    large = None if part.large is None else part.large * piece.all_samples // piece.samples
    return Expectation(part.structure, tuple(parts), large)


def _joined(reference: Reference, whole: Expectation, part: Expectation) -> Expectation:
    """The expectation of the samples of both."""
    parts = []
    for one, more in zip(whole.parts, part.parts, strict=True):
        kind, error = one.kind.and_of(more.kind), max(one.reference_error, more.reference_error)
        allowed = 0.0
        if one.eager.is_floating_point():
            allowed = allowed_error(error, kind.scale, one.eager.dtype, reference.error_budget)
        parts.append(ExpectedTensor(one.name, one.oracle, one.eager, error, allowed, known=kind))
    return Expectation(whole.structure, tuple(parts), whole.large)


def pieces(reference: Reference, inputs: Tensors) -> Iterator[Piece]:
    """The inputs in pieces, on the device, of as many samples as PIECE_SHARE of its memory bears.

    Without a batch, and where a forward changes buffers, the whole is one. Raises UnjudgeableError
    when one does not fit.
    """
    batch, whole = reference.batch, reference.footprint(inputs)
    samples = 1 if batch is None or whole.changes_buffers else batch.size(inputs)
    each = whole.oracle / samples
    _require(reference, each, "a single sample of its" if samples > 1 else "its")
    step = _step(reference, each)
    if batch is None or samples == 1:
        yield Piece(0, 1, 1, None, [x.to(reference.device) for x in inputs])
        return
    for start in range(0, samples, step):
        count = min(step, samples - start)
        part = [
            (x.narrow(0, start, count) if number in batch.inputs else x).to(reference.device)
            for number, x in enumerate(inputs)
        ]
        yield Piece(start, count, samples, batch.results, part)


def _step(reference: Reference, each: float) -> int:
    """How many samples a piece has, when one takes so many bytes."""
    return max(1, int(PIECE_SHARE * reference.backend.memory_bytes() / max(each, 1)))


def _require(reference: Reference, needed: float, which: str) -> None:
    free = reference.backend.free_bytes()
    if needed > free:
        raise UnjudgeableError(
            f"{reference.problem.path}: {which} oracle takes {needed / GB:.3g} GB, "
            f"and {free / GB:.3g} GB of the {reference.backend.name}'s memory are free"
        )


def close_to_eager(reference: Reference, inputs: Tensors, answer: Answer, tolerance: float) -> bool:
    """Whether an answer to these inputs, with the initial parameters, is eager's up to this tolerance."""
    for piece in pieces(reference, inputs):
        eager = reference.eager(reference.state, piece.inputs)
        mine = piece.of(answer.tensors) if answer.structure == eager.structure else []
        if len(mine) != len(eager.tensors) or not all(
            y.shape == own.shape and torch.allclose(y, own, rtol=tolerance, atol=tolerance, equal_nan=True)
            for y, own in zip(mine, eager.tensors, strict=True)
        ):
            return False
    return True
