"""Honest models: other ways to be right, which the suite has to pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from tuner.problem import tensors_of
from tuner.verification.changed import ChangedModel, Forward, each_tensor, unchanged, with_norm, with_product
from tuner.verification.normalisation import Norm
from tuner.verification.parameters import doubled, made_in_float64
from tuner.verification.preconditions import Batch
from tuner.verification.tf32 import tf32_flags


def _merged(n: Norm) -> torch.Tensor:
    """Honest: deviations from a pivot, channel by channel backwards, merged by Chan's formula."""
    count, mean, square = 0, torch.zeros_like(n.mean()), torch.zeros_like(n.mean())
    for part in reversed(n.grouped.split(1, 2)):
        more = part[0, 0].numel()
        theirs = n.mean(part)
        delta = theirs - mean
        square = square + n.mean((part - theirs) ** 2) * more + delta * delta * (count * more / (count + more))
        mean = mean + delta * (more / (count + more))
        count += more
    return n.finish(mean, square / count)


def _in_float64(model: nn.Module, forward: Forward) -> Forward:
    def changed(*inputs: torch.Tensor) -> Any:
        own = [*inputs, *model.state_dict().values()]
        dtype = next((x.dtype for x in own if x.is_floating_point()), torch.float32)
        state = {name: doubled(value.clone()) for name, value in model.state_dict().items()}
        with made_in_float64():
            result = functional_call(unchanged(model), state, tuple(doubled(x) for x in inputs))
        for name, buffer in model.named_buffers():
            buffer.copy_(state[name])
        return each_tensor(result, lambda y, number: y.to(dtype) if y.is_floating_point() else y)

    return changed


def _channels_last_product(func: Any, args: Any, kwargs: Any) -> Any:
    """A product of operands in another layout, its result in the usual one.

    The layout goes no further: PyTorch's own GroupNorm of channels-last tensors is one-pass on a CPU.
    """

    def turned(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dim() < 2:
            return x
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
        return x.t().contiguous().t() if layout is None else x.contiguous(memory_format=layout)

    with tf32_flags(False, False):  # cuDNN may take TF32 for one layout and not for another
        return func(*[turned(x) for x in args], **kwargs).contiguous()


def _sample_by_sample(batch: Batch) -> Callable[[nn.Module, Forward], Forward]:
    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> Any:
            with tf32_flags(False, False):  # as above, for one batch size and not for another
                parts = [forward(*batch.sample(list(inputs), i)) for i in range(batch.size(inputs))]
            tensors = [tensors_of(part) for part in parts]
            return each_tensor(parts[0], lambda y, n: torch.cat([part[n] for part in tensors], batch.results[n]))

        return changed

    return make


def honest_models(batch: Batch | None) -> list[ChangedModel]:
    """Ways to be right that round differently from the reference."""
    found = [
        ChangedModel("the reference", lambda model, forward: lambda *inputs: forward(*inputs)),
        ChangedModel("float64", _in_float64),
        ChangedModel("another layout", with_product(_channels_last_product)),
        ChangedModel("merged statistics", with_norm(_merged)),
    ]
    return found if batch is None else [*found, ChangedModel("sample by sample", _sample_by_sample(batch))]
