"""Reductions and windows that come to less: over one element, and windows of windows."""

from __future__ import annotations

import math
from dataclasses import replace

from tuner.drafting.builder import with_refs
from tuner.drafting.graph import Graph, Map, Node, Reduce, Ref, Window
from tuner.drafting.scalars import Scalar

SAME = {"": "operand", "max": "operand", "mean": "operand", "value": "operand", "sum": 1.0, "variance": 0.0}
"""What a reduction over one element comes to, by its field: the element, or a number."""


def shortened(graph: Graph) -> Graph:
    """The graph without reductions over one element, and with a window in the place of two where that is the same."""
    return _merged_windows(_without_single(graph))


def _without_single(graph: Graph) -> Graph:
    nodes: list[Node] = []
    moved: dict[Ref, Ref] = {}
    numbers: dict[Ref, float] = {}
    outside = {*graph.outputs, *(ref for _, ref in graph.updates)}
    uses = graph.uses()
    for node in graph.nodes:
        node = with_refs(node, lambda ref: moved.get(ref, ref))
        if isinstance(node, Reduce) and _is_single(graph, node):
            mine = {field: ref for field in SAME if (ref := Ref(node.name, field)) in uses or ref in outside}
            plain = all(
                SAME[field] == "operand" or (ref not in outside and all(_has_more(use, node) for use in uses[ref]))
                for field, ref in mine.items()
            )
            others = {ref for ref in uses if ref.node == node.name and ref.field not in SAME}
            if plain and not others:
                for field, ref in mine.items():
                    value = SAME[field]
                    if isinstance(value, float):
                        numbers[ref] = value
                    else:
                        moved[ref] = node.operand
                continue
        if isinstance(node, Map) and any(ref in numbers for ref in node.operands):
            node = _with_numbers(node, numbers)
            if _changes_nothing(graph, node):
                moved[Ref(node.name)] = node.operands[0]
                continue
        nodes.append(node)
    return Graph(
        tuple(nodes),
        tuple(moved.get(ref, ref) for ref in graph.outputs),
        tuple((path, moved.get(ref, ref)) for path, ref in graph.updates),
    )


def _is_single(graph: Graph, node: Reduce) -> bool:
    shape = graph[node.operand].shape
    kept = node.monoid in ("any", "all") or graph[node.operand].dtype != node.dtype
    return math.prod(shape[k] for k in node.axes) == 1 and not kept


def _has_more(use: Node, single: Reduce) -> bool:
    """Whether `use` is a map, and of something that does not become a number."""
    return isinstance(use, Map) and any(ref.node != single.name or SAME.get(ref.field) == "operand" for ref in use.refs)


def _with_numbers(node: Map, numbers: dict[Ref, float]) -> Map:
    """The map with numbers in the place of some operands."""
    kept = [ref for ref in node.operands if ref not in numbers]
    places = tuple(
        Scalar.constant(numbers[ref]) if ref in numbers else Scalar.operand(kept.index(ref)) for ref in node.operands
    )
    return replace(node, operands=tuple(kept), expression=_simple(node.expression.with_operands(places)))


def _changes_nothing(graph: Graph, node: Map) -> bool:
    inner = graph[node.operands[0]]
    return node.expression.name == "operand" and (inner.shape, inner.dtype) == (node.shape, node.dtype)


def _simple(scalar: Scalar) -> Scalar:
    """The logarithm of one exponential is its exponent."""
    scalar = Scalar(scalar.name, tuple(map(_simple, scalar.arguments)), scalar.number)
    if scalar.name == "log_sum_exp" and scalar.arguments[1] == Scalar.constant(1.0):
        return scalar.arguments[0]
    return scalar


def _merged_windows(graph: Graph) -> Graph:
    nodes: list[Node] = []
    known: dict[str, Node] = {}
    uses, outside = graph.uses(), {*graph.outputs, *(ref for _, ref in graph.updates)}
    for node in graph.nodes:
        if isinstance(node, Window):
            inner = known[node.operand.node]
            alone = len(uses[node.operand]) == 1 and node.operand not in outside
            if alone and isinstance(inner, Window) and _is_one(inner, node):
                node = replace(
                    node,
                    operand=inner.operand,
                    kernel=tuple(
                        (n - 1) * step + k for n, step, k in zip(node.kernel, inner.stride, inner.kernel, strict=True)
                    ),
                    stride=tuple(a * b for a, b in zip(inner.stride, node.stride, strict=True)),
                )
        known[node.name] = node
        nodes.append(node)
    return _needed(Graph(tuple(nodes), graph.outputs, graph.updates))


def _is_one(inner: Window, outer: Window) -> bool:
    """Whether windows of windows are windows: of maxima that meet, of sums and means that do not overlap."""
    if inner.monoid != outer.monoid or len(inner.kernel) != len(outer.kernel) or inner.ceil_mode or outer.ceil_mode:
        return False
    if any((*inner.padding, *outer.padding)) or any(n != 1 for n in (*inner.dilation, *outer.dilation)):
        return False
    pairs = list(zip(inner.kernel, inner.stride, strict=True))
    if inner.monoid == "max":
        return all(step <= size for size, step in pairs)
    return all(step == size for size, step in pairs)


def _needed(graph: Graph) -> Graph:
    """Without windows that nothing reads any more."""
    used = {*graph.uses(), *graph.outputs, *(ref for _, ref in graph.updates)}
    kept = tuple(node for node in graph.nodes if not isinstance(node, Window) or Ref(node.name) in used)
    return graph if len(kept) == len(graph.nodes) else _needed(replace(graph, nodes=kept))
