"""A plan in words: for the screen ahead of a search, and for the header of a draft."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuner.drafting.axes import size_of
from tuner.drafting.graph import Constant, Input, Library, Map, Node, Parameter, Product, Reduce, Scan, View, Window
from tuner.drafting.naming import product_word
from tuner.drafting.plan import Plan, reads_of
from tuner.drafting.region import Kernel
from tuner.drafting.scalars import Scalar

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "bool": 1, "uint8": 1}
BANDWIDTH = 3.35e12  # bytes a second: an H100's memory, by its data sheet; what a floor on the screen stands for
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def mathematics(plan: Plan) -> list[str]:
    """What is computed, a line a node, in the user's own names."""
    return [f"{node.name} = {_computed(plan, node)}" for node in plan.graph.nodes if _is_told(node)]


def _is_told(node: Node) -> bool:
    return not isinstance(node, Input | Parameter | Constant | View)


def _computed(plan: Plan, node: Node) -> str:
    def name(ref_name: str) -> str:
        inner = plan.graph[ref_name]
        while isinstance(inner, View) and inner.kind != "slice":
            inner = plan.graph[inner.operand]
        return inner.path if isinstance(inner, Parameter) else inner.name

    def word(ref: object) -> str:
        node_, field = ref.node, ref.field  # type: ignore[attr-defined]
        return f"{name(node_)}.{field}" if field else name(node_)

    match node:
        case Product():
            parts = [word(ref) for ref in node.refs]
            return f"{node.kind}({', '.join(parts)})"
        case Map():
            return _expression(node.expression, [word(ref) for ref in node.operands])[0]
        case Reduce():
            inside, outside = plan.layouts.axes(node.operand), plan.layouts.of(node.operand)
            over = [product_word(outside[k]) for k in node.axes if outside[k]]
            del inside
            return f"{node.monoid} of {word(node.operand)} over {', '.join(over) or 'one element'}"
        case Window():
            return f"{node.monoid} of {word(node.operand)} over windows {'x'.join(map(str, node.kernel))}"
        case Scan():
            return f"running {node.monoid} of {word(node.operand)}"
        case Library():
            return f"{node.operator.split('.')[0]}({', '.join(word(ref) for ref in node.refs)})"
    return f"{type(node).__name__.lower()}({', '.join(word(ref) for ref in node.refs)})"


def _expression(scalar: Scalar, operands: Sequence[str]) -> tuple[str, int]:
    if scalar.name == "operand":
        return operands[int(scalar.number)], 9
    if scalar.name == "constant":
        return f"{scalar.number:g}", 9
    parts = [_expression(argument, operands) for argument in scalar.arguments]
    if scalar.name in SIGNS:
        binds = 1 if scalar.name in ("add", "sub") else 2
        left = f"({parts[0][0]})" if parts[0][1] < binds else parts[0][0]
        right = f"({parts[1][0]})" if parts[1][1] <= binds else parts[1][0]
        return f"{left} {SIGNS[scalar.name]} {right}", binds
    return f"{scalar.name}({', '.join(text for text, _ in parts)})", 9


def sentence(kernel: Kernel) -> str:
    """What one kernel does, in a line."""
    written = " and ".join(result.ref.node for result in kernel.results if not result.is_total)
    totals = ", ".join(
        f"{result.ref.node}.{result.ref.field}" if result.ref.field else result.ref.node
        for result in kernel.results if result.is_total
    )  # fmt: skip
    what = {
        "map": "Map",
        "turned": "Map from channels-last",
        "rows": "Rows",
        "columns": "Columns",
        "windows": "Windows",
        "scan": "Scan",
    }[kernel.family]
    over = f" of {product_word(kernel.elements)} elements" if kernel.rounds() else ""
    wrote = ", ".join(part for part in (written, totals) if part)
    return f"{what}{over}: writes {wrote}."


def lines(plan: Plan, leaves: Sequence[str]) -> list[str]:
    """The steps, what each reads and writes in MB, and its floor in ms at an H100's bandwidth."""
    told = []
    for step in plan.steps:
        if isinstance(step, Kernel):
            read, written = _traffic(plan, step)
            floor = (read + written) / BANDWIDTH * 1e3
            told.append(
                f"kernel {step.name} ({step.family}): reads {_mb(read)}, writes {_mb(written)}, floor {floor:.3f} ms"
            )
        elif isinstance(step.node, Product):
            told.append(f"{step.node.name}: {step.node.kind}, by the library, its choices as knobs")
        elif not isinstance(step.node, View) and step.node.shape:
            told.append(f"{step.node.name}: left to PyTorch")
    if not plan.kernels:
        told.append("nothing to fuse: the search chooses among the product's ways alone")
    return [*told, f"left to PyTorch: {', '.join(leaves)}"] if leaves else told


def _traffic(plan: Plan, kernel: Kernel) -> tuple[int, int]:
    """Bytes that a kernel has to read and to write at least."""

    def size(ref: object) -> int:
        node = plan.graph[ref]  # type: ignore[index]
        return size_of(plan.layouts.axes(ref)) * BYTES.get(node.dtype, 8)  # type: ignore[arg-type]

    return sum(size(ref) for ref in reads_of(kernel)), sum(size(result.ref) for result in kernel.results)


def _mb(count: int) -> str:
    mb = count / 1e6
    return f"{mb:.0f} MB" if mb >= 10 else f"{mb:.{1 if mb >= 0.05 else 3}f} MB" if not math.isclose(mb, 0) else "0 MB"
