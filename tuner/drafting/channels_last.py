"""Convolutions whose results stay channels-last in memory, as cuDNN computes them fastest."""

from __future__ import annotations

from dataclasses import replace

from tuner.drafting.axes import layouts
from tuner.drafting.builder import with_refs
from tuner.drafting.gathered import is_gathered
from tuner.drafting.graph import Graph, Map, Node, Product, Reduce, Ref, View, Window
from tuner.drafting.plan import Plan, plan
from tuner.drafting.region import Kernel, family_of
from tuner.drafting.rewrite import free_name
from tuner.drafting.scalars import Scalar


def last_plan(graph: Graph) -> Plan | None:
    """The plan with every convolution channels-last whose result maps and reductions alone read; None without one."""
    last = frozenset(Ref(node.name) for node in graph.nodes if isinstance(node, Product) and _may_be_last(graph, node))
    if not last:
        return None
    made = plan(merged(graph, last), last)
    return made if all(map(_is_fitting, made.kernels)) else None


def _is_fitting(kernel: Kernel) -> bool:
    """Whether its family reads the large tensors itself, side by side."""
    if kernel.pooled:
        planes = set(kernel.planes)
        return all(term.order[-1] is kernel.space[-1] for term in kernel.reads() if set(term.order) > planes)
    wide = [term for term in kernel.reads() if set(term.order) == set(kernel.space)]
    turned = (*kernel.rows[: kernel.outer], *kernel.elements, *kernel.rows[kernel.outer :])
    order = turned if kernel.family == "turned" else kernel.space
    return all(term.order == order or not set(term.order) - set(kernel.rows) for term in wide) or any(
        term.order == order for term in wide
    )


def _may_be_last(graph: Graph, product: Product) -> bool:
    if not product.is_convolution:
        return False
    uses, pending = graph.uses(), [Ref(product.name)]
    outside = {*graph.outputs, *(ref for _, ref in graph.updates)}
    while pending:
        ref = pending.pop()
        if ref in outside or ref not in uses:
            return False
        for node in uses[ref]:
            if isinstance(node, View) or (isinstance(node, Window) and is_gathered(graph, Ref(node.name))):
                pending.append(Ref(node.name))
            elif not isinstance(node, Map | Reduce):
                return False
    return True


def merged(graph: Graph, last: frozenset[Ref]) -> Graph:
    """Moments of a group's channels and positions from those of each channel.

    Channels-last, a group's elements do not lie side by side; each channel's do, a stride apart. With m and v the
    channels' means and variances, the group's are mean(m) and mean(v) + variance(m).
    """
    made = Plan(graph, layouts(graph), last=last)
    nodes: list[Node] = []
    names = {node.name for node in graph.nodes}
    moved: dict[Ref, Ref] = {}
    for node in graph.nodes:
        if isinstance(node, Reduce) and node.monoid == "moments":
            inner = _inner(made, node)
            if inner:
                parts = _parts(node, inner, graph[node.operand].shape, names)
                nodes += parts
                moved[Ref(node.name, "mean")] = Ref(parts[1].name, "mean")
                moved[Ref(node.name, "variance")] = Ref(parts[3].name)
                continue
        nodes.append(node)
    return Graph(
        tuple(_moved(node, moved) for node in nodes),
        tuple(moved.get(ref, ref) for ref in graph.outputs),
        tuple((path, moved.get(ref, ref)) for path, ref in graph.updates),
    )


def _moved(node: Node, moved: dict[Ref, Ref]) -> Node:
    return with_refs(node, lambda ref: moved.get(ref, ref))


def _inner(made: Plan, node: Reduce) -> tuple[int, ...]:
    """The dimensions of a reduction that are the convolution's positions, where no family reduces all of them."""
    graph = made.graph
    source = _source(graph, node.operand, made.last)
    if source is None or Ref(node.name, "unbiased") in graph.uses():
        return ()
    order = made.memory(source)
    dims = made.layouts.of(node.operand)
    reduced = {axis for k in node.axes for axis in dims[k]}
    if {axis for axes in dims for axis in axes} != set(order) or family_of(order, reduced) is not None:
        return ()
    positions = {axis for axes in made.layouts.of(source)[2:] for axis in axes}
    inner = tuple(k for k in node.axes if dims[k] and set(dims[k]) <= positions)
    return inner if inner and len(inner) < len(node.axes) else ()


def _source(graph: Graph, ref: Ref, last: frozenset[Ref]) -> Ref | None:
    """The channels-last result that `ref` is a map of."""
    pending = [ref]
    while pending:
        one = pending.pop()
        if one in last:
            return one
        if isinstance(graph[one], Map | View):
            pending += graph[one].refs
    return None


def _parts(node: Reduce, inner: tuple[int, ...], shape: tuple[int, ...], names: set[str]) -> list[Node]:
    outer = tuple(k for k in node.axes if k not in inner)
    between = tuple(1 if k in inner else n for k, n in enumerate(shape))

    def reduce(word: str, operand: Ref, axes: tuple[int, ...], sizes: tuple[int, ...]) -> Reduce:
        name = free_name(f"{node.name.removesuffix('_moments')}_{word}", names)
        return replace(node, name=name, operand=operand, axes=axes, shape=sizes)

    each = reduce("channel", node.operand, inner, between)
    means = reduce("means", Ref(each.name, "mean"), outer, node.shape)
    within = reduce("within", Ref(each.name, "variance"), outer, node.shape)
    total = Map(
        free_name(f"{node.name.removesuffix('_moments')}_variance", names), node.shape, node.dtype, origin=node.origin,
        operands=(Ref(within.name, "mean"), Ref(means.name, "variance")),
        expression=Scalar.of("add", Scalar.operand(0), Scalar.operand(1)),
    )  # fmt: skip
    return [each, means, within, total]
