"""The plan of a graph: which kernels and which calls of PyTorch, in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tuner.drafting.axes import Axis, Layouts, Unreadable, layouts
from tuner.drafting.graph import (
    Constant,
    Graph,
    Input,
    Library,
    Map,
    Node,
    Parameter,
    Product,
    Reduce,
    Ref,
    View,
)
from tuner.drafting.owned import Owned
from tuner.drafting.region import Builder, Kernel, Result
from tuner.drafting.terms import Terms
from tuner.errors import TemplateError

COMPUTED_IN_FLOAT32 = ("float32", "float16", "bfloat16")


def floating(graph: Graph) -> tuple[str, ...]:
    """The dtypes of which kernels of a graph are: float64 alone where its first floating-point tensor is of that."""
    given = [n.dtype for kind in (Input, Parameter) for n in graph.nodes if isinstance(n, kind) and "float" in n.dtype]
    return ("float64",) if given[:1] == ["float64"] else COMPUTED_IN_FLOAT32


@dataclass(frozen=True)
class Call:
    """A node that PyTorch computes: a product, a view, or an operator that no kernel of ours has."""

    node: Node

    @property
    def is_left(self) -> bool:
        """Whether PyTorch does work that is neither a product nor a view."""
        return not isinstance(self.node, Product | View) and self.node.shape != ()


@dataclass
class Plan:
    """`steps` in order. `last` are the convolutions whose results lie channels-last; all else is contiguous."""

    graph: Graph
    layouts: Layouts
    steps: list[Kernel | Call] = field(default_factory=list)
    last: frozenset[Ref] = frozenset()
    orders: dict[Ref, tuple[Axis, ...]] = field(default_factory=dict)  # of totals that kernels alone read
    owned: Mapping[Ref, Owned] = field(default_factory=dict)  # convolutions by a kernel of our own

    def memory(self, ref: Ref) -> tuple[Axis, ...]:
        """The axes of what is in memory, outermost first. The host makes contiguous what kernels read."""
        if ref in self.orders:
            return self.orders[ref]
        dims = self.layouts.of(ref)
        if ref in self.last:
            dims = (dims[0], *dims[2:], dims[1])
        return tuple(axis for axes in dims for axis in axes)

    @property
    def outside(self) -> set[Ref]:
        """What is returned, kept in a buffer, or read by PyTorch: contiguous in the order of its dimensions."""
        return self._and_viewed({ref for _, ref in self.graph.updates} | self._seen)

    @property
    def typed(self) -> set[Ref]:
        """Those of them that have the graph's dtype; a buffer converts what it is given."""
        return self._and_viewed(self._seen)

    @property
    def _seen(self) -> set[Ref]:
        return {*self.graph.outputs, *self.layouts.kept}

    def _and_viewed(self, refs: set[Ref]) -> set[Ref]:
        """With what PyTorch reads, and what all these are views of."""
        found = set(refs)
        for node in reversed(self.graph.nodes):
            if isinstance(node, Product | Library) or (isinstance(node, View) and Ref(node.name) in found):
                found.update(node.refs)
        return found

    @property
    def ends(self) -> dict[str, Owned]:
        """The convolutions whose ends kernels are, by the names of these."""
        return {owned.end.name: owned for owned in self.owned.values() if owned.end is not None}

    @property
    def kernels(self) -> list[Kernel]:
        return [step for step in self.steps if isinstance(step, Kernel)]

    @property
    def products(self) -> list[Product]:
        return [step.node for step in self.steps if isinstance(step, Call) and isinstance(step.node, Product)]

    @property
    def calls(self) -> list[Call]:
        return [step for step in self.steps if isinstance(step, Call)]


def plan(graph: Graph, last: Iterable[Ref] = ()) -> Plan:
    """Kernels and calls that compute the graph's outputs and updates; `last` are products kept channels-last.

    Raises TemplateError where axes of an operand cannot be told apart.
    """
    try:
        found = layouts(graph)
    except Unreadable as unreadable:
        raise TemplateError(f"{unreadable.node}: meets its own elements along another axis") from unreadable
    last = frozenset(last)
    updates = tuple(ref for _, ref in graph.updates)
    orders = [(*graph.outputs, *updates), (*updates, *graph.outputs)] if updates else [graph.outputs]
    return min((_planned(graph, found, last, order) for order in orders), key=lambda made: len(made.kernels))


def _planned(graph: Graph, found: Layouts, last: frozenset[Ref], order: Sequence[Ref]) -> Plan:
    """With what is wanted computed in this order: statistics that are kept may be found with those that are used."""
    made = Plan(graph, found, last=last)
    planner = _Planner(made)
    for ref in order:
        planner.store(ref)
    updates = {ref for _, ref in graph.updates}
    for kernel in made.kernels:
        kernel.results.sort(key=lambda result: result.ref in updates)
    _name(made)
    return made


class _Planner:
    def __init__(self, made: Plan) -> None:
        self.plan, self.graph = made, made.graph
        self.stored = {Ref(n.name) for n in made.graph.nodes if isinstance(n, Input | Parameter | Constant)}
        self.written: dict[Ref, int] = {}  # the step that wrote it
        self.outside, self.floating = made.outside, floating(made.graph)
        self.builder = Builder(
            made.graph, made.layouts, Terms(), self.stored.__contains__, self.store, made.memory, bool(made.last)
        )

    def store(self, ref: Ref) -> None:
        """See to it that `ref` is in memory: by a step, or by an earlier one."""
        if ref in self.stored:
            return
        node = self.graph[ref]
        if self._is_called(node, ref):
            for operand in node.refs:
                self.store(operand)
            self._append(Call(node), [ref])
            return
        kernel = self.builder.kernel(ref, ref in self.outside)
        if kernel.results[0].is_total and kernel.rows != self.plan.layouts.axes(ref):
            self.plan.orders[ref] = kernel.rows
        self._join(kernel, ref)

    def _is_called(self, node: Node, ref: Ref) -> bool:
        if isinstance(node, Product | Library) or ref in self.plan.layouts.kept:
            return True
        if isinstance(node, View):
            return self._is_view_of_stored(node)
        if isinstance(node, Map):
            return node.dtype not in self.floating
        return isinstance(node, Reduce) and node.dtype not in self.floating and ref.field != "index"

    def _is_view_of_stored(self, node: View) -> bool:
        inner, ref = self.graph[node.operand], node.operand
        if ref in self.stored or isinstance(inner, Product | Library) or ref in self.plan.layouts.kept:
            return True
        if isinstance(inner, View):
            return self._is_view_of_stored(inner)
        if isinstance(inner, Reduce) and ref.field != "index":
            return inner.dtype not in (*self.floating, "int64")
        return isinstance(inner, Map) and inner.dtype not in self.floating

    def _append(self, step: Kernel | Call, refs: list[Ref]) -> None:
        self.plan.steps.append(step)
        for ref in refs:
            self.stored.add(ref)
            self.written[ref] = len(self.plan.steps) - 1

    def _join(self, kernel: Kernel, ref: Ref) -> None:
        """As part of an earlier kernel over the same elements that finds all that this one needs, else by itself."""
        rounds = {(r.monoid, r.arguments[0]) for r in kernel.rounds()}
        reads = {term.ref for term in kernel.reads() if term.ref is not None}
        for number, other in enumerate(self.plan.steps):
            if not isinstance(other, Kernel) or other.key != kernel.key or kernel.before is not other.before:
                continue
            theirs = {(r.monoid, r.arguments[0]) for r in other.rounds()}
            whole = {term.ref for term in other.reads() if set(term.order) == set(other.space)}
            shared = theirs & rounds or whole & reads
            there = all(self.written.get(read, -1) < number for read in reads)
            totals = all(result.is_total for result in (*other.results, *kernel.results))
            if (
                (rounds <= theirs or totals)
                and shared
                and there
                and _one_type([*other.results, *kernel.results], self.graph)
            ):
                other.results += kernel.results
                self.stored.add(ref)
                self.written[ref] = number
                return
        self._append(kernel, [ref])


def _one_type(results: list[Result], graph: Graph) -> bool:
    """Whether the totals have one type."""

    def is_index(ref: Ref) -> bool:
        return ref.field == "index" or graph[ref].dtype == "int64"

    return len({is_index(result.ref) for result in results if result.is_total}) <= 1


def _name(made: Plan) -> None:
    """Kernels are named after what they write first."""
    taken: set[str] = set()
    for kernel in made.kernels:
        ref = kernel.results[0].ref
        name = ref.node.removesuffix("_flat").removesuffix("_channels").lower()
        while name in taken:
            name += "_again"
        taken.add(name)
        kernel.name = name


def reads_of(kernel: Kernel) -> list[Ref]:
    """The tensors that a kernel reads, each once."""
    return list(dict.fromkeys(term.ref for term in kernel.reads() if term.ref is not None))
