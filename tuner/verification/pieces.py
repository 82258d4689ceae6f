"""What is too large to be held whole: tensors walked in chunks, oracles computed again piece by piece.

Verification holds, beside the model and one set of its inputs, at most SHARE of the device's memory. A case that
would hold more keeps no oracle: pieces of the proved batch are computed when an answer is there to be compared.
Time is bounded as well: the full size is judged in one case, at the price of two float64 forwards (one for the
expectation, one for the answer) and three eager ones of the reference; of a timed run SOME samples, chosen in secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tuner.backends import Backend
from tuner.verification.dispatch import DispatchMode, tensors_in
from tuner.verification.parameters import Tensors

SHARE = 0.5  # of the device's memory
PIECE_SHARE = 1 / 32  # of the device's memory, for a float64 forward of one piece: what a library allocates is unseen
KEPT = 14  # as many copies of inputs and results lie in memory when nothing is done in pieces
SOME = 16  # who leaves out a tenth of the samples is found on the first such run with a probability of 0.8
LEAST_SOME = 4
CHUNK = 2**21  # elements that are compared at once


def is_large(size: int, backend: Backend) -> bool:
    """Whether so many bytes of inputs, or of one result, are too many to be kept beside others."""
    return size > PIECE_SHARE * backend.memory_bytes()


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
    """Bytes of some samples, or of the whole where there is no batch, in the dtypes that the user sees."""

    inputs: int
    results: int
    largest: int  # what one operator gives at most
    changes_buffers: bool

    def times(self, factor: float) -> Footprint:
        """That of so many times the samples."""
        inputs, results, largest = (int(size * factor) for size in (self.inputs, self.results, self.largest))
        return Footprint(inputs, results, largest, self.changes_buffers)

    @property
    def own(self) -> int:
        """The inputs and the results, which a user's forward holds as well."""
        return self.inputs + self.results

    @property
    def kept(self) -> int:
        """What verification holds when nothing is done in pieces."""
        return KEPT * self.own + 2 * self.forward

    @property
    def forward(self) -> int:
        """What a forward holds at once, beside parameters."""
        return self.own + 2 * self.largest

    @property
    def oracle(self) -> int:
        """A float64 forward beside an eager one."""
        return 3 * self.forward

    @property
    def examined(self) -> int:
        """What a candidate's process holds: guarded inputs, three results beside the newest, and what it works with."""
        return self.inputs + 4 * self.results + self.largest


class Sizes(DispatchMode):
    """Notes the largest result, in bytes, of the operators that are called inside; not of views and in-place ones."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_memory(x) for x in tensors_in([*args, *(kwargs or {}).values()])}
        made = (y.nbytes for y in tensors_in(result) if _memory(y) not in given)
        self.largest = max([self.largest, *made])
        return result


def _memory(x: torch.Tensor) -> int:
    return x.untyped_storage().data_ptr()


@dataclass(frozen=True)
class Piece:
    """Some samples of a case: inputs, and where their results lie among those of all; without `dims` the whole."""

    start: int
    samples: int
    all_samples: int
    dims: tuple[int, ...] | None  # that the samples are in, one for each result
    inputs: Tensors

    def of(self, results: Tensors) -> Tensors:
        """These samples' part of results of all."""
        if self.dims is None:
            return results
        return [y.narrow(dim, self.start, self.samples) for y, dim in zip(results, self.dims, strict=True)]


@dataclass(frozen=True)
class Chosen:
    """Some samples of a case, by their numbers, as `Piece` has those that lie side by side."""

    numbers: tuple[int, ...]
    all_samples: int
    dims: tuple[int, ...]
    inputs: Tensors

    @property
    def samples(self) -> int:
        return len(self.numbers)

    def of(self, results: Tensors) -> Tensors:
        """These samples' part of results of all."""
        return [
            y.index_select(dim, torch.tensor(self.numbers, device=y.device))
            for y, dim in zip(results, self.dims, strict=True)
        ]
