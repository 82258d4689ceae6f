"""Normalising functions, intercepted: their statistics computed another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


@dataclass
class Norm:
    """One call of a normalising function: `grouped` is (rows, groups, ...), normalised over all but the first two."""

    x: torch.Tensor
    grouped: torch.Tensor
    weight: torch.Tensor | None  # broadcasts against `grouped`
    bias: torch.Tensor | None
    eps: float

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(range(2, self.grouped.dim()))

    def mean(self, of: torch.Tensor | None = None) -> torch.Tensor:
        return (self.grouped if of is None else of).mean(self.dims, keepdim=True)

    def variance(self, mean: torch.Tensor) -> torch.Tensor:
        return self.mean((self.grouped - mean) ** 2)

    def finish(self, mean: torch.Tensor, variance: torch.Tensor, eps: float | None = None) -> torch.Tensor:
        y = (self.grouped - mean) * (variance + (self.eps if eps is None else eps)).rsqrt()
        y = y if self.weight is None else y * self.weight
        y = y if self.bias is None else y + self.bias
        return y.reshape(self.x.shape)


_NORM_ARGUMENTS = {
    F.group_norm: ("x", "groups", "weight", "bias", "eps"),
    torch.group_norm: ("x", "groups", "weight", "bias", "eps"),
    F.layer_norm: ("x", "shape", "weight", "bias", "eps"),
    torch.layer_norm: ("x", "shape", "weight", "bias", "eps"),
    F.instance_norm: ("x", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
}
_OTHER_NAMES = {"input": "x", "num_groups": "groups", "normalized_shape": "shape"}


def norm_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Norm | None:
    """What a call normalises, when it is of a normalising function."""
    names = _NORM_ARGUMENTS.get(func)
    if names is None:
        return None
    given = dict(zip(names, args, strict=False)) | {_OTHER_NAMES.get(k, k): v for k, v in kwargs.items()}
    x, weight, bias = given["x"], given.get("weight"), given.get("bias")
    if "shape" in given:
        shape = tuple(given["shape"])
        grouped, affine = x.reshape(-1, 1, *shape), (1, 1, *shape)
    else:
        groups = given.get("groups") or x.shape[1]
        grouped = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        affine = (1, groups, x.shape[1] // groups, *(1 for _ in x.shape[2:]))
    weight = None if weight is None else weight.view(affine)
    bias = None if bias is None else bias.view(affine)
    return Norm(x, grouped, weight, bias, given.get("eps", 1e-5))


class Normalising(TorchFunctionMode):
    """Inside, every normalisation is computed by `compute`."""

    def __init__(self, compute: Callable[[Norm], torch.Tensor]) -> None:
        super().__init__()
        self.compute, self.calls = compute, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = norm_of(func, args, kwargs or {})
        if norm is None:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        return self.compute(norm)


def _rounded_mean(norm: Norm) -> torch.Tensor:
    """Normalisation whose mean is off by one rounding to float32."""
    mean = norm.mean()
    return norm.finish(mean * (1 + torch.finfo(torch.float32).eps), norm.variance(mean))
