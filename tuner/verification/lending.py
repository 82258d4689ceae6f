"""Memory of a device that other processes read a judge's tensors in, instead of files that pass through the host.

Who reads it may write it, too, and may go on to after the tensor has been taken back. So it holds copies, and what was
lent once is never used for anything else: an answer that is expected never lies where a candidate could look.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tuner.backends.base import Backend
from tuner.verification.pieces import is_large
from tuner.verification.tensor_files import storage_of

LEAST = 2**20  # bytes; a file of fewer is as fast


@dataclass(frozen=True)
class Loan:
    """A copy of a tensor's storage, and how others find it."""

    memory: torch.Tensor
    shared: str

    def renew(self, x: torch.Tensor) -> None:
        """Copy the same tensor once more: somebody may have written over the copy."""
        whole = storage_of(x).view(torch.uint8)
        self.memory[: whole.numel()].copy_(whole)


class Lender:
    """Lends copies of tensors on the device of `backend`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.free: list[Loan] = []

    def lend(self, x: torch.Tensor) -> Loan | None:
        """A copy of x in memory that is shared; None where x is small or too large, or the device shares none.

        It is whole once the device has been waited for.
        """
        size = storage_of(x).nbytes
        if size < LEAST or is_large(size, self.backend):
            return None
        loan = self._free_of(size) or self._new(size)
        if loan is not None:
            loan.renew(x)
        return loan

    def take_back(self, loan: Loan) -> None:
        """The next tensor of its size will lie there."""
        self.free.append(loan)

    def _free_of(self, size: int) -> Loan | None:
        fitting = [loan for loan in self.free if size <= loan.memory.nbytes <= 2 * size]
        if not fitting:
            return None
        best = min(fitting, key=lambda loan: loan.memory.nbytes)
        self.free = [loan for loan in self.free if loan is not best]
        return best

    def _new(self, size: int) -> Loan | None:
        memory = self.backend.lendable(size)
        shared = self.backend.share_memory(memory) if memory is not None else ""
        return Loan(memory, shared) if memory is not None and shared else None
