"""Calls of PyTorch in a host: products with their knobs, views, and operators that are left to it."""

from __future__ import annotations

from collections.abc import Callable

from tuner.drafting.graph import Graph, Library, Map, Node, Parameter, Product, Reduce, Ref, View
from tuner.drafting.scalars import Scalar
from tuner.errors import TemplateError

Value = Callable[[Ref], str]
SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
}
REDUCTIONS = {"sum": "sum", "max": "amax", "min": "amin", "any": "any", "all": "all"}
# What PyTorch computes an operator by that has no kernel of its own; which of these, device, sizes and dtype decide.
WITHIN = {
    "scaled_dot_product_attention": (
        *(f"_scaled_dot_product_{name}_attention" for name in ("cudnn", "efficient", "flash")),
        "_scaled_dot_product_flash_attention_for_cpu", "_fused_sdp_choice", "_safe_softmax", "_softmax", "logical_not",
        "masked_fill", "mul", "scalar_tensor", "tril", "where",
    ),
    "cdist": ("_euclidean_dist",),
    "lstm": ("mkldnn_rnn_layer", "_cudnn_rnn", "_thnn_fused_lstm_cell"),
    "gru": ("_cudnn_rnn", "_thnn_fused_gru_cell"),
    **dict.fromkeys(("rnn_tanh", "rnn_relu"), ("_cudnn_rnn",)),
}  # fmt: skip
SPECIAL = {"relu": "torch.relu", "gelu": "torch.nn.functional.gelu", "silu": "torch.nn.functional.silu"}


def is_split(node: Product) -> bool:
    """Whether a matrix product may be made of half-precision pieces."""
    return not node.is_convolution and node.dtype == "float32" and len(node.shape) >= 2


def is_layer(node: Product, graph: Graph) -> bool:
    """Whether it is a matrix product in float with a parameter for its weight."""
    return is_split(node) and node.kind == "linear" and isinstance(graph[node.weight], Parameter)


def can_flip(node: Product) -> bool:
    """Whether a transposed convolution may be computed as an ordinary one."""
    return "transpose" in node.kind and all(s == 1 for s in node.stride) and not any(node.output_padding)


def prefix(node: Product) -> str:
    return f"{node.name.lower()}_"


def product(node: Product, graph: Graph, value: Value, device: str, last: bool) -> tuple[str, list[str]]:
    """Head and arguments of the call that computes a product; `last` is a convolution in channels-last memory."""
    x, weight, knobs = value(node.x), value(node.weight), prefix(node)
    if node.is_convolution:
        bias = "" if node.bias is None else value(node.bias)
        return "convolution", [x, weight, *([f"bias={bias}"] if bias else []), *_convolution(node, device, knobs, last)]
    if device == "cuda" and is_split(node):
        choices = [f'{name}=knobs["{knobs}{name}"]' for name in ("scheme", "calls", "slice_k")]
        if node.kind == "linear" and isinstance(graph[node.weight], Parameter) and len(graph[node.x].shape) >= 1:
            kept = f'weights=knobs["{knobs}weights"]'
            return "split_product", ["model", "kernel", f'"{node.name}"', x, weight, *choices, kept]
        other = f"{weight}.t()" if node.kind == "linear" else weight
        if len(graph[node.x].shape) >= 2 and len(graph[node.weight].shape) >= 2:
            return "split_matmul", ["kernel", x, other, *choices]
    return "torch.matmul", [x, f"{weight}.t()" if node.kind == "linear" else weight]


def _convolution(node: Product, device: str, knobs: str, last: bool) -> list[str]:
    """Keyword arguments: sizes, then choices."""
    sizes = [f"{name}={getattr(node, name)}" for name in ("stride", "padding", "dilation")]
    if node.groups != 1:
        sizes.append(f"groups={node.groups}")
    if "transpose" in node.kind:
        sizes.append(f"output_padding={node.output_padding}")
    choices = ['layout="channels_last"' if last else f'layout=knobs["{knobs}layout"]']
    if device == "cuda":
        choices += [f'{name}=knobs["{knobs}{name}"]' for name in ("form", "benchmark", "tf32")]
        choices.append(f'kernel=kernel if knobs["{knobs}turn"] else None')
    elif can_flip(node):
        choices.append(f'form=knobs["{knobs}form"]')
    return [*sizes, *choices]


def view(node: View, operand: str, sizes_before: tuple[int, ...], shape: Callable[[Ref], list[str]]) -> str:
    """The expression of a view of `operand`, whose traced sizes are `sizes_before`."""
    match node.kind:
        case "permute":
            return f"{operand}.permute({', '.join(map(str, node.order))})"
        case "slice":
            parts = []
            for start, step, size, whole in zip(node.starts, node.steps, node.shape, sizes_before, strict=True):
                end = start + step * (size - 1) + 1
                parts.append(":" if size == whole else f"{start}:{end}" + (f":{step}" if step != 1 else ""))
            return f"{operand}[{', '.join(parts)}]"
    try:
        sizes = shape(Ref(node.name))
    except KeyError:
        sizes = [str(size) for size in node.shape]
    return f"{operand}.{node.kind}({', '.join(sizes) or '()'})"


def operator(node: Node, graph: Graph, value: Value) -> str:
    """The expression of an operator that PyTorch computes."""
    if isinstance(node, Map):
        text = scalar(node.expression, [value(ref) for ref in node.operands])
        is_cast = node.expression.name == "operand" or "int" in node.dtype
        return f"{text}.to(torch.{node.dtype})" if is_cast else text
    if isinstance(node, Reduce) and node.monoid in REDUCTIONS:
        return f"torch.{REDUCTIONS[node.monoid]}({value(node.operand)}, {node.axes}, keepdim=True)"
    if not isinstance(node, Library):
        raise TemplateError(f"{node.name}: no kernel and no operator of PyTorch computes it")
    packet, overload = node.operator.split(".")
    parts = [_plain(argument, value) for argument in node.arguments]
    parts += [f"{name}={_plain(argument, value)}" for name, argument in node.keywords]
    text = f"torch.ops.aten.{packet}.{overload}({', '.join(parts)})"
    return text if node.result is None else f"{text}[{node.result}]"


def _plain(argument: object, value: Value) -> str:
    if isinstance(argument, Ref):
        return value(argument)
    if isinstance(argument, tuple):
        return f"[{', '.join(_plain(one, value) for one in argument)}]"
    if isinstance(argument, str) and argument.startswith("torch."):
        return argument
    return repr(argument)


def scalar(expression: Scalar, operands: list[str]) -> str:
    """A Map as a Python expression of tensors."""
    if expression.name == "operand":
        return operands[int(expression.number)]
    if expression.name == "constant":
        number = expression.number
        return repr(int(number)) if number == int(number) else repr(number)
    parts = [scalar(argument, operands) for argument in expression.arguments]
    if expression.name in SIGNS:
        return f"({parts[0]} {SIGNS[expression.name]} {parts[1]})"
    return f"{SPECIAL.get(expression.name, f'torch.{expression.name}')}({', '.join(parts)})"


def left(node: Node) -> list[str]:
    """Names of the operators that a call leaves to PyTorch, as a variant's `leaves` has them."""
    if isinstance(node, Library):
        return [node.operator.split(".")[0]]
    if isinstance(node, Reduce):
        return [REDUCTIONS.get(node.monoid, node.monoid)]
    if isinstance(node, Map) and node.shape:
        return sorted(_functions(node.expression))
    return []


def within(node: Node) -> list[str]:
    """Names of the operators that PyTorch computes by what a call leaves to it."""
    inner = node.inner if isinstance(node, Library) else ()
    return [*inner, *(name for leaf in left(node) for name in WITHIN.get(leaf, ()))]


def counted(graph: Graph, path: str, ref: Ref) -> float | None:
    """By how much an update raises the buffer at `path`, where that is all it does: a count of batches."""
    node = graph[ref]
    if not isinstance(node, Map) or node.shape or node.dtype != "int64" or ref in graph.uses():
        return None
    buffer = graph[node.operands[0]]
    if not isinstance(buffer, Parameter) or buffer.path != path or node.expression.name != "add":
        return None
    first, more = node.expression.arguments
    return more.number if (first.name, more.name) == ("operand", "constant") else None


def _functions(expression: Scalar) -> set[str]:
    if expression.name in ("operand", "constant"):
        return set()
    return {expression.name, *(name for argument in expression.arguments for name in _functions(argument))}
