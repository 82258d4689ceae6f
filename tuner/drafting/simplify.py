"""Passes over nodes that keep what is computed: views of views, expanded operands, flipped scans, dead code, names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuner.drafting.builder import Builder, with_refs
from tuner.drafting.graph import Graph, Input, Library, Map, Node, Ref, Scan, View

FLIP = "flip.default"
Moved = dict[Ref, Ref]


def simplified(builder: Builder, outputs: Sequence[Ref], updates: Sequence[tuple[str, Ref]]) -> tuple[Graph, Moved]:
    """A graph of what is needed of the builder's nodes, and what became of their results."""
    known: dict[str, Node] = {}
    same: Moved = {}

    def now(ref: Ref) -> Ref:
        return same.get(ref, ref)

    for node in builder.nodes.values():
        node = with_refs(node, now)
        node = _merged_view(node, known) if isinstance(node, View) else node
        node = _broadcast_operands(node, known) if isinstance(node, Map) else node
        found = _flipped_scan(node, known) if isinstance(node, Library) else node
        if isinstance(found, View) and _changes_nothing(found, known[found.operand.node].shape):
            same[Ref(node.name)] = found.operand
            continue
        known[found.name] = found
    wanted = [now(ref) for ref in outputs]
    kept = [(path, now(ref)) for path, ref in updates]
    alive = _alive(known, [*wanted, *(ref for _, ref in kept)])
    names = _names(alive, builder.words)

    def renamed(ref: Ref) -> Ref:
        return replace(ref, node=names[ref.node])

    graph = Graph(
        tuple(replace(with_refs(node, renamed), name=names[node.name]) for node in alive),
        tuple(renamed(ref) for ref in wanted),
        tuple((path, renamed(ref)) for path, ref in kept),
    )
    moved = {Ref(name): Ref(new) for name, new in names.items()}
    moved |= {ref: renamed(found) for ref, found in same.items() if found.node in names}
    return graph, moved


def _changes_nothing(view: View, shape: tuple[int, ...]) -> bool:
    if view.kind == "permute":
        return view.order == tuple(range(len(shape)))
    return view.shape == shape and view.kind != "slice"


def _merged_view(node: View, known: dict[str, Node]) -> View:
    """A view of a view of the same kind as one."""
    inner = known[node.operand.node]
    if not isinstance(inner, View) or inner.kind != node.kind:
        return node
    if node.kind == "reshape":
        return replace(node, operand=inner.operand, batch=node.batch and inner.batch)
    if node.kind == "permute":
        return replace(node, operand=inner.operand, order=tuple(inner.order[k] for k in node.order))
    if node.kind == "expand":
        return replace(node, operand=inner.operand)
    starts = tuple(a + s * b for a, s, b in zip(inner.starts, inner.steps, node.starts, strict=True))
    steps = tuple(a * b for a, b in zip(inner.steps, node.steps, strict=True))
    return replace(node, operand=inner.operand, starts=starts, steps=steps)


def _broadcast_operands(node: Map, known: dict[str, Node]) -> Map:
    """Operands that were only expanded are broadcast by the Map."""

    def plain(ref: Ref) -> Ref:
        view = known[ref.node]
        return view.operand if isinstance(view, View) and view.kind == "expand" else ref

    return with_refs(node, plain)  # type: ignore[return-value]


def _flipped_scan(node: Library, known: dict[str, Node]) -> Node:
    """A scan between two flips of its axis runs from the end."""
    if node.operator != FLIP or not isinstance(node.arguments[0], Ref):
        return node
    scan = known[node.arguments[0].node]
    if not isinstance(scan, Scan) or scan.reverse:
        return node
    inner = known[scan.operand.node]
    axes = (scan.axis,), (scan.axis - len(scan.shape),)
    if (
        isinstance(inner, Library)
        and inner.operator == FLIP
        and inner.arguments[1] in axes
        and node.arguments[1] in axes
    ):
        source = inner.arguments[0]
        assert isinstance(source, Ref)
        return Scan(
            node.name, node.shape, node.dtype, origin=scan.origin, monoid=scan.monoid, operand=source, axis=scan.axis,
            reverse=True,
        )  # fmt: skip
    return node


def _alive(known: dict[str, Node], wanted: Sequence[Ref]) -> list[Node]:
    """What the results need, and every input."""
    needed = {ref.node for ref in wanted}
    for node in reversed(known.values()):
        if node.name in needed:
            needed.update(ref.node for ref in node.refs)
    return [node for node in known.values() if node.name in needed or isinstance(node, Input)]


def _names(nodes: Sequence[Node], words: dict[str, str]) -> dict[str, str]:
    """New names, numbered without gaps."""
    names: dict[str, str] = {}
    builder = Builder()
    for node in nodes:
        name = names[node.name] = builder.free_name(words[node.name])
        builder.nodes[name] = node
    return names
