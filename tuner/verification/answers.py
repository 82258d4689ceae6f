"""What a forward gives: its result, taken apart into tensors, and the buffers that it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from tuner import problem
from tuner.verification.parameters import State, Tensors


@dataclass(frozen=True)
class Answer:
    """One forward's result and the model's buffers after it."""

    structure: str  # how tuples are nested in the result, as "tensor" or "(tensor, (tensor, tensor))"
    tensors: Tensors  # of the result, in order
    buffers: State = field(default_factory=dict)

    @classmethod
    def of(cls, result: object, model: nn.Module | None = None) -> Answer:
        """The answer of a forward of `model`. Raises TypeError when the result holds anything but plain tensors."""
        tensors = problem.tensors_of(result)
        odd = next((t for t in tensors if type(t) is not torch.Tensor), None)
        if odd is not None:
            raise TypeError(f"returned a {type(odd).__name__}, not a plain tensor")
        buffers = {} if model is None else {name: buffer for name, buffer in model.named_buffers()}
        return cls(problem.structure_of(result), tensors, buffers)

    def clone(self) -> Answer:
        """The same values in memory of its own."""
        buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        return Answer(self.structure, [t.clone() for t in self.tensors], buffers)

    def everything(self) -> Tensors:
        """The tensors of the result, then the buffers."""
        return [*self.tensors, *self.buffers.values()]

    def values(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every tensor of the result with its name: "" for the only one."""
        for number, tensor in enumerate(self.tensors):
            yield "" if len(self.tensors) == 1 else f"result {number}", tensor
