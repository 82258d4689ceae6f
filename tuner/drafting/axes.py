"""Axes: what the dimensions of a graph's results have in common.

Two dimensions are of one axis where elements meet along them. A reshape splits and merges dimensions, so a dimension is
a sequence of axes (channels are groups x channels of a group), none where its size is 1. What a result holds at a place
then depends on a number for each of its axes alone, and not on the shape that a view gives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tuner.drafting.graph import Gather, Graph, Library, Map, Node, Product, Reduce, Ref, Scan, View, Window


class Unreadable(Exception):
    """A node whose operands cannot be told apart by axes: `node` is its name, `operand` what to keep apart."""

    def __init__(self, node: str, operand: Ref) -> None:
        super().__init__(node)
        self.node, self.operand = node, operand


@dataclass(eq=False)
class Axis:
    """One axis, of `size` elements in the traced workload. It may turn out to be another one, or several."""

    name: str
    size: int
    parts: tuple[Axis, ...] = field(default=(), repr=False)

    def resolved(self) -> tuple[Axis, ...]:
        """What it is by now, outermost first."""
        return tuple(axis for part in self.parts for axis in part.resolved()) if self.parts else (self,)


Dims = tuple[tuple[Axis, ...], ...]


def resolved(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    return tuple(one for axis in axes for one in axis.resolved())


def size_of(axes: Iterable[Axis]) -> int:
    return math.prod(axis.size for axis in axes)


@dataclass
class Layouts:
    """The axes of every result. `kept` are results that PyTorch writes to memory although they are views."""

    graph: Graph
    dims: dict[str, Dims]
    kept: frozenset[Ref]

    def of(self, ref: Ref) -> Dims:
        return tuple(resolved(axes) for axes in self.dims[ref.node])

    def axes(self, ref: Ref) -> tuple[Axis, ...]:
        """All axes of a result, in the order of its dimensions."""
        return tuple(axis for axes in self.of(ref) for axis in axes)


def layouts(graph: Graph) -> Layouts:
    """The axes of every result of the graph."""
    kept: frozenset[Ref] = frozenset()
    while True:
        try:
            return _layouts(graph, kept)
        except Unreadable as unreadable:
            if unreadable.operand in kept:
                raise
            kept |= {unreadable.operand}


def _layouts(graph: Graph, kept: frozenset[Ref]) -> Layouts:
    found = Layouts(graph, {}, kept)
    for node in graph.nodes:
        if Ref(node.name) in kept:
            found.dims[node.name] = fresh(node)
        else:
            found.dims[node.name] = _dims(node, found)
        _require_distinct(node, found)
    for node in graph.nodes:  # what a later node made one may meet itself in an earlier one
        _require_distinct(node, found)
    return found


def _require_distinct(node: Node, found: Layouts) -> None:
    axes = found.axes(Ref(node.name))
    if len(set(axes)) != len(axes):
        views = [ref for ref in node.refs if isinstance(found.graph[ref], View) and ref not in found.kept]
        raise Unreadable(node.name, views[-1] if views else node.refs[-1] if node.refs else Ref(node.name))


def fresh(node: Node, words: Sequence[str] = ()) -> Dims:
    """Axes of its own for every dimension."""
    names = words or _words(len(node.shape))
    return tuple((Axis(name, size),) if size != 1 else () for name, size in zip(names, node.shape, strict=True))


SPATIAL = {1: ("positions",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def _words(rank: int) -> tuple[str, ...]:
    """Names for the dimensions of a tensor as networks have them."""
    if rank in (3, 4, 5):
        return ("samples", "channels", *SPATIAL[rank - 2])
    return {0: (), 1: ("features",), 2: ("samples", "features")}.get(rank, tuple(f"axis_{k}" for k in range(rank)))


def _dims(node: Node, found: Layouts) -> Dims:
    match node:
        case Product():
            return _product(node, found)
        case Map():
            return _map(node, found)
        case Reduce():
            return tuple(() if k in node.axes else axes for k, axes in enumerate(found.dims[node.operand.node]))
        case Window():
            count = len(node.kernel)
            outer = found.dims[node.operand.node][:-count]
            sizes = zip(SPATIAL[count], node.shape[-count:], strict=True)
            return (*outer, *((Axis(name, size),) if size != 1 else () for name, size in sizes))
        case Scan():
            return found.dims[node.operand.node]
        case Gather():
            return _gather(node, found)
        case View():
            return _view(node, found)
        case Library():
            return fresh(node)
    return fresh(node)


def _product(node: Product, found: Layouts) -> Dims:
    x = found.dims[node.x.node]
    if node.is_convolution:
        spatial = len(node.shape) - 2
        sizes = zip(("channels", *SPATIAL[spatial]), node.shape[1:], strict=True)
        return (x[0], *((Axis(name, size),) if size != 1 else () for name, size in sizes))
    if node.shape and (node.kind == "linear" or len(x) == len(node.shape)):
        last = (Axis("features", node.shape[-1]),) if node.shape[-1] != 1 else ()
        outer = [
            axes if size_of(axes) == size else (Axis("samples", size),)
            for axes, size in zip(x[:-1], node.shape[:-1], strict=True)
        ]
        return (*outer, last)
    return fresh(node)


def _map(node: Map, found: Layouts) -> Dims:
    rank = len(node.shape)
    dims: list[tuple[Axis, ...]] = [()] * rank
    for operand in node.operands:
        own = found.dims[operand.node]
        for k, axes in enumerate(own, start=rank - len(own)):
            if size_of(axes) == 1:
                continue
            if dims[k]:
                if not unified(dims[k], axes):
                    raise Unreadable(node.name, operand)
            else:
                dims[k] = axes
    return tuple(dims)


def unified(ours: Iterable[Axis], theirs: Iterable[Axis]) -> bool:
    """Make one of two sequences of axes with the same number of elements; False where their sizes do not nest."""
    mine, other = list(resolved(ours)), list(resolved(theirs))
    while mine and other:
        a, b = mine.pop(0), other.pop(0)
        if a is b:
            continue
        if a.size == b.size:
            a.name, b.parts = _better(a.name, b.name), (a,)
            mine, other = list(resolved(mine)), list(resolved(other))
        elif a.size > b.size and a.size % b.size == 0:
            outer, inner = _split(a, b.size)
            b.parts = (outer,)
            mine, other = [inner, *resolved(mine)], list(resolved(other))
        elif b.size > a.size and b.size % a.size == 0:
            outer, inner = _split(b, a.size)
            outer.parts = (a,)
            mine, other = list(resolved(mine)), [inner, *resolved(other)]
        else:
            return False
    return not mine and not other


def _better(mine: str, other: str) -> str:
    """The word that says more: a parameter of one dimension calls it features, whatever it is elsewhere."""
    return other if mine == "features" else mine


def _split(axis: Axis, outer: int) -> tuple[Axis, Axis]:
    names = ("groups", "group_channels") if axis.name == "channels" else (f"{axis.name}_outer", f"{axis.name}_inner")
    if axis.name == "features":
        names = ("groups", "group_features")
    axis.parts = (Axis(names[0], outer), Axis(names[1], axis.size // outer))
    return axis.parts[0], axis.parts[1]


def _gather(node: Gather, found: Layouts) -> Dims:
    index, source = found.dims[node.index.node], found.dims[node.source.node]
    for k, (mine, other) in enumerate(zip(index, source, strict=True)):
        if k != node.axis and size_of(mine) == size_of(other) and not unified(other, mine):
            raise Unreadable(node.name, node.index)
    return index


def _view(node: View, found: Layouts) -> Dims:
    own = found.dims[node.operand.node]
    if node.kind == "permute":
        return tuple(own[k] for k in node.order)
    if node.kind == "expand":
        names = _words(len(node.shape))
        return tuple(
            axes if size_of(axes) == size else (Axis(name, size),)
            for axes, size, name in zip(own, node.shape, names, strict=True)
        )
    if node.kind == "slice":
        raise Unreadable(node.name, Ref(node.name))  # picked by PyTorch
    return _reshaped(node, [axis for axes in own for axis in axes])


def _reshaped(node: View, axes: list[Axis]) -> Dims:
    """The axes in the same order, cut where the new dimensions end."""
    left = list(resolved(axes))
    dims: list[tuple[Axis, ...]] = []
    for size in node.shape:
        taken: list[Axis] = []
        while size_of(taken) < size:
            axis = left.pop(0)
            missing = size // size_of(taken)
            if axis.size > missing:
                if axis.size % missing:
                    raise Unreadable(node.name, Ref(node.name))
                outer, inner = _split(axis, missing)
                axis, left = outer, [inner, *resolved(left)]
            elif size % (size_of(taken) * axis.size):
                raise Unreadable(node.name, Ref(node.name))
            taken.append(axis)
        dims.append(tuple(taken))
    return tuple(dims)
