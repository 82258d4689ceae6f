"""Changed models: a reference whose calls, or whose result, are computed another way.

They are what the suite checks itself with: mutants are wrong, honest variants round differently.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from tuner.verification.normalisation import Norm, Normalising

Forward = Callable[..., Any]  # gives a tensor, or tuples and lists of tensors
Change = Callable[[Any, Any, Any], Any]  # of a function's call: the function, its arguments, its keyword arguments


class Inapplicable(Exception):
    """A reference has no place for a change; the text says why."""


@dataclass(frozen=True)
class ChangedModel:
    """A change of a reference, from its forward to another.

    `make(model, forward)` returns the forward of the changed model; it or its forward raises Inapplicable.
    """

    name: str
    make: Callable[[nn.Module, Forward], Forward]

    def of(self, reference: nn.Module) -> nn.Module:
        """A model with the reference's own parameters and another forward."""
        model = copy.copy(reference)
        model.__dict__["_tuner_reference"] = reference
        model.__dict__["forward"] = self.make(reference, reference.forward)
        return model


def each_tensor(result: Any, change: Callable[[torch.Tensor, int], torch.Tensor]) -> Any:
    """A result with every tensor of it changed, each given with its number."""
    numbers = itertools.count()

    def walk(one: Any) -> Any:
        if isinstance(one, torch.Tensor):
            return change(one, next(numbers))
        return tuple(walk(each) for each in one)  # a list is taken for the same

    return walk(result)


def unchanged(model: nn.Module) -> nn.Module:
    """The reference that a changed model was made from, on the same parameters."""
    return getattr(model, "_tuner_reference", model)


PRODUCTS = {
    F.linear, torch.conv1d, torch.conv2d, torch.conv3d,
    torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm,
}  # fmt: skip
ACTIVATIONS = {
    F.relu, torch.relu, torch.Tensor.relu, F.relu6, F.hardswish, F.hardtanh, F.gelu, F.silu, F.mish, F.elu, F.softplus,
    F.leaky_relu, torch.tanh, torch.sigmoid, F.hardsigmoid,
}  # fmt: skip
REDUCTIONS = {
    getattr(owner, name)
    for owner in (torch, torch.Tensor)
    for name in ("mean", "sum", "min", "max", "amin", "amax", "logsumexp", "prod")
}


class Calls(TorchFunctionMode):
    """Inside, calls of `functions` go through `change(func, args, kwargs)`."""

    def __init__(self, functions: set[Any], change: Change) -> None:
        super().__init__()
        self.functions, self.change, self.calls = functions, change, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in self.functions:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        return self.change(func, args, kwargs or {})


class Reductions(Calls):
    """Inside, reductions go through `change`; the smaller or larger of two tensors is none."""

    def __init__(self, change: Change) -> None:
        super().__init__(REDUCTIONS, change)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(given, torch.Tensor) for given in (*args[1:], *(kwargs or {}).values())):
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def under(what: str, mode: Callable[[], Calls | Normalising]) -> Callable[[nn.Module, Forward], Forward]:
    """A forward under a mode; inapplicable where the reference never calls what the mode changes."""

    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> Any:
            with mode() as active:
                y = forward(*inputs)
            if active.calls == 0:
                raise Inapplicable(f"the reference calls no {what}")
            return y

        return changed

    return make


def with_norm(compute: Callable[[Norm], torch.Tensor]) -> Callable[[nn.Module, Forward], Forward]:
    return under("normalisation", lambda: Normalising(compute))


def with_product(change: Change) -> Callable[[nn.Module, Forward], Forward]:
    return under("product", lambda: Calls(PRODUCTS, change))
