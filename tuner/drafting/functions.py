"""The functions of Scalars in torch: what `numerics/functions.hpp` has to agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuner.drafting.scalars import FUNCTIONS, Scalar

if TYPE_CHECKING:
    import torch

    Function = Callable[..., torch.Tensor]


def table() -> dict[str, Function]:
    """Every function of `scalars.FUNCTIONS`, of tensors."""
    import torch
    from torch.nn import functional as F

    def truth(compare: Function) -> Function:
        return lambda *xs: compare(*(x != 0 for x in xs))

    special: dict[str, Function] = {
        "relu": torch.relu,
        "leaky_relu": lambda x, slope: torch.where(x > 0, x, slope * x),
        "elu": lambda x, alpha, scale, inner: scale * torch.where(x > 0, x, alpha * torch.expm1(inner * x)),
        "gelu": F.gelu,
        "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "mish": F.mish,
        "log_sigmoid": F.logsigmoid,
        "softplus": lambda x, beta, limit: torch.where(beta * x > limit, x, torch.log1p(torch.exp(beta * x)) / beta),
        "softsign": F.softsign,
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "clamp": lambda x, low, high: torch.minimum(torch.maximum(x, low), high),
        "fmod": torch.fmod,
        "where": lambda c, x, y: torch.where(c != 0, x, y),
        "logical_and": truth(torch.logical_and),
        "logical_or": truth(torch.logical_or),
        "log_sum_exp": lambda m, s: torch.where(torch.isinf(m), m, m + torch.log(s)),
        "exp_less": lambda x, m: torch.exp(x - m),
    }
    return {name: special[name] if name in special else getattr(torch, name) for name in FUNCTIONS}


def evaluate(expression: Scalar, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """The expression of the operands, which are broadcast."""
    import torch

    functions = table()
    kind = torch.float64 if all(x.is_floating_point() or x.dtype == torch.bool for x in operands) else None

    def value(scalar: Scalar) -> torch.Tensor:
        if scalar.name == "operand":
            x = operands[int(scalar.number)]
            return x.to(torch.float64) if x.dtype == torch.bool and kind else x
        if scalar.name == "constant":
            whole = kind is None and float(scalar.number).is_integer()
            return torch.tensor(int(scalar.number) if whole else scalar.number, dtype=None if whole else torch.float64)
        return functions[scalar.name](*(value(argument) for argument in scalar.arguments))

    return value(expression)


def number(expression: Scalar) -> float:
    """An expression of constants alone."""
    return float(evaluate(expression, ()).item())
