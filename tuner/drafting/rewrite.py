"""Rewrites of a graph ahead of planning: what is computed stays, up to rounding."""

from __future__ import annotations

import math
from dataclasses import replace

from tuner.drafting.builder import broadcast, identifier, with_refs
from tuner.drafting.graph import Graph, Library, Map, Node, Product, Reduce, Ref, View
from tuner.drafting.scalars import Scalar


def free_biases(graph: Graph) -> Graph:
    """Biases of products added by the maps that follow, for a library adds them in a pass of its own, or in float.

    A convolution whose result nothing follows keeps its bias; a matrix product never does.
    """
    nodes: list[Node] = []
    names = {node.name for node in graph.nodes}
    moved: dict[Ref, Ref] = {}
    for node in graph.nodes:
        node = with_refs(node, lambda ref: moved.get(ref, ref))
        nodes.append(node)
        if not isinstance(node, Product) or node.bias is None or not _is_followed(graph, node):
            continue
        bias = node.bias
        if node.is_convolution:
            shape = (graph[bias].shape[0], *(1 for _ in node.shape[2:]))
            along = View(
                free_name(f"{node.name}_bias_along", names),
                shape,
                node.dtype,
                origin=node.origin,
                kind="reshape",
                operand=bias,
            )
            nodes.append(along)
            bias = Ref(along.name)
        added = Map(
            free_name(f"{node.name}_biased", names), node.shape, node.dtype, origin=node.origin,
            operands=(Ref(node.name), bias), expression=Scalar.of("add", Scalar.operand(0), Scalar.operand(1)),
        )  # fmt: skip
        nodes[nodes.index(node)] = replace(node, bias=None)
        nodes.append(added)
        moved[Ref(node.name)] = Ref(added.name)
    return Graph(
        tuple(nodes),
        tuple(moved.get(ref, ref) for ref in graph.outputs),
        tuple((path, moved.get(ref, ref)) for path, ref in graph.updates),
    )


def parted(graph: Graph) -> Graph:
    """What a map computes of reductions' results alone becomes a map of its own, of their shape.

    An epsilon, a root and a quotient are then computed once for each row, whoever needs them where.
    """
    nodes: list[Node] = []
    names = {node.name for node in graph.nodes}
    reduced: set[str] = set()
    made: Parts = {}
    for node in graph.nodes:
        if isinstance(node, Reduce):
            reduced.add(node.name)
        if isinstance(node, Map):
            node = _parted(graph, node, reduced, names, nodes, made)
        nodes.append(node)
    return Graph(tuple(nodes), graph.outputs, graph.updates)


Parts = dict[tuple[Scalar, tuple[Ref, ...]], Ref]


def _parted(graph: Graph, node: Map, reduced: set[str], names: set[str], nodes: list[Node], made: Parts) -> Map:
    operands = list(node.operands)

    def cut(scalar: Scalar) -> Scalar:
        used = sorted(scalar.operands())
        if not scalar.arguments or not used:
            return scalar
        if any(node.operands[k].node not in reduced for k in used):
            return Scalar(scalar.name, tuple(map(cut, scalar.arguments)), scalar.number)
        refs = tuple(node.operands[k] for k in used)
        shape = broadcast(*(graph[ref].shape for ref in refs))
        if math.prod(shape) >= math.prod(node.shape):
            return scalar
        places = tuple(Scalar.operand(used.index(k) if k in used else 0) for k in range(len(node.operands)))
        expression = scalar.with_operands(places)
        if (expression, refs) not in made:
            word = f"{refs[0].node.removesuffix('_moments')}_{scalar.name}"
            part = Map(
                free_name(word, names), shape, node.dtype, origin=node.origin, operands=refs, expression=expression
            )
            nodes.append(part)
            made[expression, refs] = Ref(part.name)
        found = made[expression, refs]
        if found not in operands:
            operands.append(found)
        return Scalar.operand(operands.index(found))

    expression = cut(node.expression)
    if expression == node.expression:
        return node
    kept = sorted(expression.operands())
    places = tuple(Scalar.operand(kept.index(k) if k in kept else 0) for k in range(len(operands)))
    return replace(node, operands=tuple(operands[k] for k in kept), expression=expression.with_operands(places))


def free_name(wanted: str, names: set[str]) -> str:
    """An identifier like `wanted` that is not among `names`, and is from now on."""
    name, number = identifier(wanted), 2
    while name in names:
        name, number = f"{identifier(wanted)}_{number}", number + 1
    names.add(name)
    return name


def _is_followed(graph: Graph, product: Product) -> bool:
    """Whether a kernel of ours reads the product, and nothing else does."""
    if not product.is_convolution:
        return True
    uses = graph.uses()
    pending = [Ref(product.name)]
    while pending:
        ref = pending.pop()
        if ref in graph.outputs:
            return False
        for node in uses.get(ref, []):
            if isinstance(node, View):
                pending.append(Ref(node.name))
            elif isinstance(node, Product | Library):
                return False
    return True
