"""Tensors that a forward makes of nothing but sizes, as the text of an expression."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from tuner.drafting.builder import Full
from tuner.drafting.graph import Constant, Ref
from tuner.drafting.operation import Operation

if TYPE_CHECKING:
    from torch import fx

_LEFT_OUT = ("device", "layout", "pin_memory", "memory_format")


def constant_call(op: Operation, node: fx.Node) -> str | None:
    """The expression with torch that makes this operation's result of constants; None for several results."""
    import torch

    if len(op.shapes) > 1:
        return None
    if op.operator == "stack" and op["dim"] == 0 and (values := _listed(op, op["tensors"])) is not None:
        return f"torch.tensor({values}, dtype=torch.{op.dtype})"
    if op.operator == "_to_copy":
        return f"{_text(op, op.x)}.to(torch.{op.dtype})"
    if op.operator in ("view", "unsqueeze", "squeeze", "_unsafe_view"):
        return f"{_text(op, op.x)}.reshape({op.shape})"
    named = getattr(torch, op.operator, None)
    name = f"torch.{op.operator}" if callable(named) else f"torch.ops.aten.{op.operator}.{op.overload}"
    schema = node.target._schema.arguments  # type: ignore[union-attr]
    given = []
    for position, argument in enumerate(schema):
        if position < len(node.args) or argument.name in node.kwargs:
            text = _text(op, op[argument.name])
            if argument.name not in _LEFT_OUT:
                given.append(f"{argument.name}={text}" if argument.kwarg_only else text)
    if "dtype" not in node.kwargs and any(argument.name == "dtype" for argument in schema):
        given.append(f"dtype=torch.{op.dtype}")
    return f"{name}({', '.join(given)})"


def _listed(op: Operation, stacked: list[Any]) -> str | None:
    """Numbers, or lists of them, that were stacked, as a list's text."""
    words = []
    for value in stacked:
        call = _text(op, value)
        number = re.fullmatch(
            r"torch\.full\(\(\), ([^,]+), dtype=[\w.]+\)|torch\.tensor\((\[.*\]), dtype=[\w.]+\)", call
        )
        if number is None:
            return None
        words.append(number[1] or number[2])
    return f"[{', '.join(words)}]"


def _text(op: Operation, value: Any) -> str:
    import torch

    if isinstance(value, Full):
        return _text(op, op.builder.ref(value))
    if isinstance(value, Ref):
        node = op.builder.nodes[value.node]
        assert isinstance(node, Constant)
        return node.call
    if isinstance(value, list):
        return f"[{', '.join(_text(op, one) for one in value)}]"
    if isinstance(value, float) and not math.isfinite(value):
        return "torch.nan" if math.isnan(value) else "torch.inf" if value > 0 else "-torch.inf"
    return str(value) if isinstance(value, torch.dtype) else repr(value)
