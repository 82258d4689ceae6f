"""TF32: rounding to it, and the switches that turn it on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def tf32_flags(matmul: bool, cudnn: bool) -> Iterator[None]:
    """The TF32 switches set to these values, and put back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 rounded to TF32's 10 mantissa bits, to nearest with ties away (PTX `cvt.rna.tf32.f32`)."""
    bits = x.contiguous().view(torch.int32)
    rounded = ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x)


CONVOLUTIONS = (nn.modules.conv._ConvNd,)
MULTIPLYING = (nn.Linear, *CONVOLUTIONS)


@contextlib.contextmanager
def rounded_operands(model: nn.Module, layers: tuple[type[nn.Module], ...] = MULTIPLYING) -> Iterator[None]:
    """Inside, the inputs of every such layer are rounded to TF32; weights are the caller's to round."""

    def pre(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(round_to_tf32(x) for x in args)

    hooks = [m.register_forward_pre_hook(pre) for m in model.modules() if isinstance(m, layers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
