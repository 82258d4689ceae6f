"""A model's parameters and buffers as values that can be put into another model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from tuner.verification.dispatch import DispatchMode

NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

State = dict[str, torch.Tensor]  # by the names of a state_dict
Tensors = list[torch.Tensor]


def load_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy `state` into the model's parameters and buffers in place; buffers that are not in it stay."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.data.copy_(state[name])  # as optimisers and users may write: uncounted by the version counter
    load_buffers(model, state)


def load_buffers(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy the buffers of `state` into the model's in place; those that are not in it stay."""
    for name, buffer in model.named_buffers():
        if name in state:
            buffer.data.copy_(state[name])


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Floating-point numbers in float64; others as they are."""
    return x.double() if x.is_floating_point() else x


@contextlib.contextmanager
def made_in_float64() -> Iterator[None]:
    """Inside, tensors that a forward makes without naming a dtype, or as float32, are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float32AsFloat64():
            yield
    finally:
        torch.set_default_dtype(before)


class _Float32AsFloat64(DispatchMode):
    """`x.float()` in a forward asks for more precision than x has, not for less than an oracle's."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") is torch.float32:
            kwargs = {**kwargs, "dtype": torch.float64}
        return function(*args, **kwargs)


def main_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters of everything but normalisation layers."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in norms}


def draw_affine(state: State, rng: torch.Generator) -> State:
    """The state with every vector of floating-point numbers drawn anew: weights around 1, the others around 0."""
    drawn = {}
    for name, value in state.items():
        if name.endswith("running_var"):
            drawn[name] = value * (0.5 + torch.rand(value.shape, generator=rng, device=rng.device).to(value))
        elif value.dim() == 1 and value.is_floating_point():
            noise = torch.randn(value.shape, generator=rng, device=rng.device).to(value)
            drawn[name] = (1.0 if name.endswith("weight") else 0.0) + 0.5 * noise
        else:
            drawn[name] = value  # shared: matrices are the most of it, and no state is written to
    return drawn
