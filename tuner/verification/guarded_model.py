"""A candidate's model, called so that whatever it does beside computing its result is seen.

This side of a verification runs candidate code. It is told parameter values and
inputs, and gives results; it knows no oracle, no tolerance and no case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from tuner import problem
from tuner.backends import Backend
from tuner.records import Workload
from tuner.verification.answers import Answer
from tuner.verification.criterion import Wrong
from tuner.verification.guards import (
    GuardedAllocations,
    guarded_copy,
    guarded_like,
    guards_intact,
    poison,
    same_bits,
    unchanged,
)
from tuner.verification.operators import Everywhere, Operators, Work, both
from tuner.verification.parameters import State, Tensors, load_buffers, load_state
from tuner.verification.pieces import is_large
from tuner.verification.preconditions import same_answers

HELD_BYTES = 2**28  # of earlier results that are kept, the last three calls' in any case, of large ones the last one's
HELD_CALLS = 3
REFUSALS = (RuntimeError, ValueError, NotImplementedError)  # how a candidate says that it does not take something


def construct(model_new: Callable[..., nn.Module], workload: Workload, seed: int) -> nn.Module:
    """A candidate's model on the CPU, constructed as KernelBench does: parameters from `seed`, mode as it is left.

    It is cast where the workload says so.
    """
    torch.manual_seed(seed)
    return problem.construct(model_new, workload)


class GuardedModel:
    """A model on one device and its calls under guards.

    `work` is what the first call of `answers` left to PyTorch.
    """

    def __init__(self, model: nn.Module, backend: Backend) -> None:
        self.model, self.backend = model.to(backend.torch_device), backend
        self.work: Work = {}
        self._newest: Tensors = []
        self._guarded: list[torch.Tensor] = []  # parameters that lie between guard zones
        self._returned: Tensors = []  # what the last calls gave, poisoned, and alive so that its memory is its own

    def guard_parameters(self) -> None:
        """Move every parameter between guard zones."""
        for parameter in self.model.parameters():
            parameter.data = guarded_copy(parameter.data)
            self._guarded.append(parameter.data)

    def answers(self, state: State, inputs: Tensors, repeat: bool = False) -> Iterator[Answer]:
        """The answers of one guarded and one plain call; with `repeat` a third must give the same bits.

        Raises Wrong for whatever was done beside giving an answer, when the next one is asked for.
        """
        operators, guards, everywhere = Operators(), GuardedAllocations(), Everywhere()
        self.work, self._returned = {}, []
        load_state(self.model, state)
        before = [p.clone() for p in self.model.parameters()]
        poisoned = self.call(inputs, operators, guards, everywhere)
        self.work = both(operators.work, everywhere.work)
        if not guards.intact():
            raise Wrong("wrote outside the tensors that it allocated")
        yield poisoned
        if is_large(sum(y.nbytes for y in poisoned.tensors), self.backend):
            guards.buffers.clear()  # there may be no room for them beside the others
        del poisoned
        plain = self._call_again(state, inputs)
        if repeat:
            self._repeat(state, inputs, plain, 2)
        self._returned, self._newest = [], []
        if not all(guards_intact(parameter) for parameter in self._guarded):
            raise Wrong("wrote outside its parameters")
        for (name, parameter), old in zip(self.model.named_parameters(), before, strict=True):
            if not same_bits(parameter, old):
                raise Wrong(f"changed its parameter {name}")
        yield plain

    def repeat(self, state: State, inputs: Tensors, count: int) -> None:
        """Call it `count` times. Raises Wrong for other bits than the first time, or memory of an earlier result."""
        self._returned = []
        load_state(self.model, state)
        first = self.call(inputs)
        for number in range(2, count + 1):
            self._repeat(state, inputs, first, number)
        self._returned = []

    def _call_again(self, state: State, inputs: Tensors) -> Answer:
        """A further call on the same values: only buffers, which a forward may change, are put back for it."""
        load_buffers(self.model, state)
        return self.call(inputs)

    def _repeat(self, state: State, inputs: Tensors, first: Answer, number: int) -> None:
        earlier = self._returned
        if not same_answers(self._call_again(state, inputs), first):
            raise Wrong(f"call {number} on the same values gives other bits than the first")
        if {_memory(y) for y in earlier if y.numel()} & {_memory(y) for y in self._newest}:
            raise Wrong("returns the memory of an earlier result, which is not its own any more")

    def call(self, inputs: Tensors, *modes: contextlib.AbstractContextManager[Any]) -> Answer:
        """One forward under `modes` on guarded copies of `inputs`, read back in stream order.

        On CUDA the inputs become valid only after a delay on the current stream,
        and the result is read on that stream without waiting for the device:
        work that ignores the stream's order sees NaN or is not seen. Inputs on the CPU
        are valid when the forward is called: a copy from there waits for its end.
        """
        given = [guarded_like(x, torch.device(self.backend.torch_device)) for x in inputs]
        self.backend.delay()
        for mine, x in zip(given, inputs, strict=True):
            mine.copy_(x)
        with torch.no_grad(), contextlib.ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            result = self.model(*given)
            try:
                given_back = Answer.of(result, self.model)
            except TypeError as error:
                raise Wrong(str(error)) from None
            answer = given_back.clone()  # at once: leaving a mode may take so long that what is late is there
        self.backend.synchronize()
        for mine, x in zip(given, inputs, strict=True):
            if not unchanged(mine, x):
                raise Wrong("modified its input")
            if not guards_intact(mine):
                raise Wrong("wrote outside its input")
        for y in given_back.tensors:
            poison(y)
        self._newest = given_back.tensors
        self._returned = [*self._returned, *self._newest]
        large = is_large(sum(y.nbytes for y in self._newest), self.backend)
        least = len(self._newest) * (1 if large else HELD_CALLS)
        while len(self._returned) > least and (large or sum(y.nbytes for y in self._returned) > HELD_BYTES):
            del self._returned[0]
        return answer

    def call_unguarded(self, state: State, inputs: Tensors) -> Answer:
        """One forward as a user would call it. Raises TypeError when its result is no tensors."""
        load_state(self.model, state)
        with torch.no_grad():
            return Answer.of(self.model(*inputs))


def _memory(y: torch.Tensor) -> int:
    return y.untyped_storage().data_ptr()
