"""Mutants: wrong models made from a problem's own reference, each of which the suite has to reject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tuner.verification.changed import (
    ACTIVATIONS,
    Calls,
    ChangedModel,
    Forward,
    Inapplicable,
    Reductions,
    each_tensor,
    under,
    with_norm,
    with_product,
)
from tuner.verification.normalisation import Norm
from tuner.verification.parameters import NORMS
from tuner.verification.preconditions import Batch
from tuner.verification.tf32 import round_to_tf32


@dataclass(frozen=True)
class Mutant(ChangedModel):
    """A way to be wrong. One of `rounding` vanishes in float64, so it is never left out for being none there."""

    rounding: bool = False


# ---- products, activations, reductions gone wrong --------------------------------------------------


def _tf32_product(func: Any, args: Any, kwargs: Any) -> Any:
    a, b, *rest = args
    if a.dtype is not torch.float32:
        return func(*args, **kwargs)
    return func(round_to_tf32(a), round_to_tf32(b), *rest, **kwargs)


def _bf16_product(func: Any, args: Any, kwargs: Any) -> Any:
    args = [x.bfloat16().to(x.dtype) if isinstance(x, torch.Tensor) else x for x in args]
    y = func(*args, **kwargs)
    return y.bfloat16().to(y.dtype)


def _no_activation(func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].clone()


def _short_reduction(func: Any, args: Any, kwargs: Any) -> Any:
    """A reduction that misses the last element of its last dimension."""
    x, *rest = args
    dims = rest[0] if rest else kwargs.get("dim")
    dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    last = max(d % x.dim() for d in dims)
    if x.shape[last] > 1:
        x = x.narrow(last, 0, x.shape[last] - 1)
    return func(x, *rest, **kwargs)


# ---- normalisation gone wrong ----------------------------------------------------------------------


def _one_pass(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean, (n.mean(n.grouped * n.grouped) - mean * mean).clamp_min(0))


def _with_eps(eps: Callable[[float], float]) -> Callable[[Norm], torch.Tensor]:
    def compute(n: Norm) -> torch.Tensor:
        mean = n.mean()
        return n.finish(mean, n.variance(mean), eps(n.eps))

    return compute


def _unbiased(n: Norm) -> torch.Tensor:
    mean = n.mean()
    count = n.grouped[0, 0].numel()
    return n.finish(mean, n.variance(mean) * (count / max(count - 1, 1)))


def _dropped_column(n: Norm) -> torch.Tensor:
    seen = n.grouped[..., :-1] if n.grouped.shape[-1] > 1 else n.grouped
    mean = n.mean(seen)
    return n.finish(mean, n.mean((seen - mean) ** 2))


def _stale(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean.roll(1, 0), n.variance(mean).roll(1, 0))


def _shifted(n: Norm) -> torch.Tensor:
    mean = n.mean()
    variance = n.variance(mean)
    return n.finish(mean + 0.01 * variance.sqrt(), variance)


def _whole_batch(n: Norm) -> torch.Tensor:
    mean = n.mean().mean(0, keepdim=True)
    return n.finish(mean, n.mean((n.grouped - mean) ** 2).mean(0, keepdim=True))


def _first_group(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean[:, :1], n.variance(mean)[:, :1])


# ---- results and parameters ------------------------------------------------------------------------


def _result(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, Forward], Forward]:
    """Every tensor of the result changed."""
    return lambda model, forward: lambda *inputs: each_tensor(forward(*inputs), lambda y, number: change(y))


def _samples(batch: Batch | None, change: Callable[[torch.Tensor, int], torch.Tensor]) -> Any:
    """The samples of every result changed, given the dimension that they are in."""

    def make(model: nn.Module, forward: Forward) -> Forward:
        if batch is None:
            raise Inapplicable("there is no batch")
        return lambda *inputs: each_tensor(forward(*inputs), lambda y, number: change(y, batch.results[number]))

    return make


def _previous(model: nn.Module, forward: Forward) -> Forward:
    """The result of the call before; of the first call its own."""
    kept: list[Any] = []

    def changed(*inputs: torch.Tensor) -> Any:
        kept.append(forward(*inputs))
        return kept.pop(0) if len(kept) > 1 else each_tensor(kept[0], lambda y, number: y.clone())

    return changed


def _ignoring(name: str, neutral: float) -> Callable[[nn.Module, Forward], Forward]:
    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> Any:
            parameter = dict(model.named_parameters()).get(name)
            if parameter is None:  # built from other arguments: bias=False, say
                return forward(*inputs)
            kept = parameter.data
            parameter.data = torch.full_like(kept, neutral)
            try:
                return forward(*inputs)
            finally:
                parameter.data = kept

        return changed

    return make


def _ignored_parameters(model: nn.Module) -> Iterator[Mutant]:
    """For each vector of parameters and each bias, a model that leaves it out."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition(".")
        bias = kind.endswith("bias")
        if not bias and parameter.dim() != 1 and owner not in norms:
            continue
        yield Mutant(f"missing {name}", _ignoring(name, 0.0 if bias else 1.0))


def mutants(model: nn.Module, batch: Batch | None) -> list[Mutant]:
    """The wrong models of a reference with this batch."""
    return [
        Mutant("zeros", _result(torch.zeros_like)),
        Mutant("a constant", _result(lambda y: torch.full_like(y, y.double().mean().item()))),
        Mutant("sample 0 for all", _samples(batch, lambda y, dim: y.narrow(dim, 0, 1).expand_as(y).clone())),
        Mutant("rolled batch", _samples(batch, lambda y, dim: y.roll(1, dim))),
        Mutant("previous result", _previous),
        Mutant("TF32 operands", with_product(_tf32_product), rounding=True),
        Mutant("bf16", with_product(_bf16_product)),
        Mutant("one-pass variance", with_norm(_one_pass), rounding=True),
        Mutant("no eps", with_norm(_with_eps(lambda eps: 0.0))),
        Mutant("wrong eps", with_norm(_with_eps(lambda eps: eps / 10))),
        Mutant("unbiased variance", with_norm(_unbiased)),
        Mutant("dropped column", with_norm(_dropped_column)),
        Mutant("stale statistics", with_norm(_stale)),
        Mutant("shifted mean", with_norm(_shifted)),
        Mutant("statistics of the batch", with_norm(_whole_batch)),
        Mutant("statistics of the first group", with_norm(_first_group)),
        Mutant("no activation", under("activation", lambda: Calls(ACTIVATIONS, _no_activation))),
        Mutant("short reduction", under("reduction", lambda: Reductions(_short_reduction))),
        *_ignored_parameters(model),
    ]
