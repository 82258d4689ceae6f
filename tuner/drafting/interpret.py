"""A graph computed in float64, node by node: what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuner.drafting import functions
from tuner.drafting.graph import (
    Constant,
    Gather,
    Graph,
    Input,
    Library,
    Map,
    Node,
    Parameter,
    Product,
    Reduce,
    Ref,
    Scan,
    View,
    Window,
)

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor
Values = dict[Ref, "Tensor"]


def interpret(
    graph: Graph, parameters: Mapping[str, Tensor], inputs: Sequence[Tensor], own: str | None = None
) -> Values:
    """Every result of every node: numbers in float64, integers and truth values as they are.

    `parameters` holds those of the model, and its buffers and other tensors, by path. A cast to the dtype `own` stays
    in float64, as all that has this dtype does.
    """
    import torch

    values: Values = {}
    with torch.no_grad():
        for node in graph.nodes:
            if isinstance(node, Input):
                values[Ref(node.name)] = doubled(inputs[node.index])
            elif isinstance(node, Parameter):
                values[Ref(node.name)] = doubled(parameters[node.path])
            else:
                values.update(compute(node, values, own))
    return values


def doubled(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def compute(node: Node, values: Values, own: str | None = None) -> Values:
    """The results of one node from those before it."""
    import torch

    ref = Ref(node.name)
    match node:
        case Constant():
            return {ref: doubled(eval(node.call, {"torch": torch}))}
        case Map():
            result = functions.evaluate(node.expression, [values[operand] for operand in node.operands])
            if node.expression.name == "operand" and node.dtype != own:  # a cast, which rounds as it does in the model
                result = result.to(getattr(torch, node.dtype))
            return {ref: _kind(result, node.dtype).expand(node.shape)}
        case Reduce():
            return {Ref(node.name, field): x for field, x in _reduced(node, values[node.operand]).items()}
        case Product():
            bias = None if node.bias is None else values[node.bias]
            return {ref: _product(node, values[node.x], values[node.weight], bias)}
        case Window():
            return {ref: _window(node, values[node.operand])}
        case Scan():
            return {ref: _scan(node, values[node.operand])}
        case Gather():
            return {ref: torch.gather(values[node.source], node.axis, values[node.index])}
        case View():
            return {ref: _view(node, values[node.operand])}
        case Library():
            return {ref: _library(node, values)}
    raise TypeError(f"{node.name} is a {type(node).__name__}, which nothing computes")


def _kind(x: Tensor, dtype: str) -> Tensor:
    """In float64, or in the dtype of integers and truth values."""
    import torch

    wanted: torch.dtype = getattr(torch, dtype)
    return x.to(torch.float64 if wanted.is_floating_point else wanted)


def _reduced(node: Reduce, x: Tensor) -> dict[str, Tensor]:
    import torch

    axes = list(node.axes)
    if not axes and node.monoid in ("sum", "product", "max", "min", "any", "all"):
        return {"": x}
    match node.monoid:
        case "sum":
            return {"": x.sum(axes, keepdim=True)}
        case "product":
            for axis in axes:
                x = x.prod(axis, keepdim=True)
            return {"": x}
        case "max":
            return {"": x.amax(axes, keepdim=True)}
        case "min":
            return {"": x.amin(axes, keepdim=True)}
        case "any":
            return {"": (x != 0).any(axes, keepdim=True)}
        case "all":
            return {"": (x != 0).all(axes, keepdim=True)}
        case "moments":
            x = x.double()
            mean = x.mean(axes, keepdim=True) if axes else x
            squares = (x - mean).square()
            variance = squares.mean(axes, keepdim=True) if axes else squares
            count = x.numel() / max(mean.numel(), 1)
            return {"mean": mean, "variance": variance, "unbiased": variance * (count / (count - 1 or float("nan")))}
        case "max_sum":
            largest = x.amax(axes, keepdim=True) if axes else x
            exponentials = torch.exp(x - largest)
            return {"max": largest, "sum": exponentials.sum(axes, keepdim=True) if axes else exponentials}
    (axis,) = axes
    found = (torch.max if node.monoid == "argmax" else torch.min)(x, axis, keepdim=True)
    return {"value": found.values, "index": found.indices}


def _product(node: Product, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    import torch
    from torch.nn import functional as F

    if node.kind == "linear":
        return F.linear(x, weight, bias)
    if node.kind == "matmul":
        result = torch.matmul(x, weight)
        return result if bias is None else result + bias
    shared: dict[str, Any] = {"stride": node.stride, "padding": node.padding, "dilation": node.dilation}
    if "transpose" in node.kind:
        shared["output_padding"] = node.output_padding
    result = getattr(F, node.kind)(x, weight, bias, groups=node.groups, **shared)
    assert isinstance(result, torch.Tensor)
    return result


def _window(node: Window, x: Tensor) -> Tensor:
    import torch
    from torch.nn import functional as F

    count = len(node.kernel)
    if node.monoid == "max":
        pool = getattr(F, f"max_pool{count}d")
        result = pool(x, node.kernel, node.stride, node.padding, node.dilation, node.ceil_mode)
    else:
        pool = getattr(F, f"avg_pool{count}d")
        result = pool(x, node.kernel, node.stride, node.padding, node.ceil_mode, node.monoid != "mean_valid")
        if node.monoid == "sum":
            for size in node.kernel:
                result = result * size
    assert isinstance(result, torch.Tensor)
    return result


def _scan(node: Scan, x: Tensor) -> Tensor:
    import torch

    x = x.flip(node.axis) if node.reverse else x
    total = torch.cumsum(x, node.axis) if node.monoid == "sum" else torch.cumprod(x, node.axis)
    if node.exclusive:
        first = torch.full_like(x.narrow(node.axis, 0, 1), 0 if node.monoid == "sum" else 1)
        total = torch.cat((first, total.narrow(node.axis, 0, x.shape[node.axis] - 1)), node.axis)
    return total.flip(node.axis) if node.reverse else total


def _view(node: View, x: Tensor) -> Tensor:
    if node.kind == "reshape":
        return x.reshape(node.shape)
    if node.kind == "permute":
        return x.permute(node.order)
    if node.kind == "expand":
        return x.expand(node.shape)
    windows = zip(node.starts, node.steps, node.shape, strict=True)
    return x[tuple(slice(start, start + step * (size - 1) + 1, step) for start, step, size in windows)]


def _library(node: Library, values: Values) -> Tensor:
    import torch

    def plain(value: object) -> Any:
        if isinstance(value, Ref):
            return values[value]
        if isinstance(value, tuple):
            return [plain(one) for one in value]
        if isinstance(value, str) and value.startswith("torch."):
            found = getattr(torch, value.removeprefix("torch."))
            return torch.float64 if isinstance(found, torch.dtype) and found.is_floating_point else found
        return value

    packet, overload = node.operator.split(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload)
    result = operator(*plain(node.arguments), **{name: plain(value) for name, value in node.keywords})
    found = result if node.result is None else result[node.result]
    assert isinstance(found, torch.Tensor)
    return doubled(found)
