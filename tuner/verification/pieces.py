"""What is too large to be held whole: tensors walked in chunks, oracles computed again piece by piece.

Verification holds, beside the model and one set of its inputs, at most SHARE of the device's memory. A case that
would hold more keeps no oracle: pieces of the proved batch are computed when an answer is there to be compared.
That takes time: the full size is judged in one case and on MARKED timed values, each at the price of one float64
forward for its expectation and one for each answer that differs from the one before, and two eager ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tuner.verification.dispatch import DispatchMode
from tuner.verification.parameters import Tensors

SHARE = 0.5  # of the device's memory
PIECE_SHARE = 1 / 32  # of the device's memory, for a float64 forward of one piece: what a library allocates is unseen
KEPT = 14  # as many copies of inputs and results lie in memory when nothing is done in pieces
CHUNK = 2**21  # elements that are compared at once


def chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Views of tensors of one shape, that of CHUNK elements at most, which together are the whole."""
    if tensors[0].numel() <= CHUNK:
        yield tensors
        return
    dim = max(range(tensors[0].dim()), key=lambda d: tensors[0].shape[d])
    for halves in zip(*(x.tensor_split(2, dim) for x in tensors), strict=True):
        yield from chunks(*halves)


@dataclass(frozen=True)
class Footprint:
    """Bytes of one sample, or of the whole where there is no batch."""

    held: float  # its inputs and results
    working: float  # what a forward holds at once, beside parameters

    def whole(self, samples: int) -> float:
        """Bytes that verification holds when nothing of so many samples is done in pieces."""
        return samples * (KEPT * self.held + 2 * self.working)

    def oracle(self, samples: int) -> float:
        """Bytes of a float64 forward beside an eager one."""
        return samples * 3 * self.working


class Sizes(DispatchMode):
    """Notes the largest result, in bytes, of the operators that are called inside; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for y in result if isinstance(result, tuple | list) else [result]:
            if isinstance(y, torch.Tensor) and not y._is_view():
                self.largest = max(self.largest, y.nbytes)
        return result


@dataclass(frozen=True)
class Piece:
    """Some samples of a case: inputs, and where their results lie among those of all; without `dims` the whole."""

    start: int
    samples: int
    dims: tuple[int, ...] | None  # that the samples are in, one for each result
    inputs: Tensors

    def of(self, results: Tensors) -> Tensors:
        """These samples' part of results of all."""
        if self.dims is None:
            return results
        return [y.narrow(dim, self.start, self.samples) for y, dim in zip(results, self.dims, strict=True)]
