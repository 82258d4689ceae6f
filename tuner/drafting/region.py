"""One kernel: what it computes for each element of which space, and in which family.

A kernel grows backwards from a result that has to be in memory. Maps and views are taken in; a reduction is taken in as
a round where it is over the kernel's own elements; whatever else is needed has to be in memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from tuner.drafting.axes import Axis, Layouts, size_of
from tuner.drafting.gathered import is_gathered
from tuner.drafting.graph import Constant, Gather, Graph, Map, Reduce, Ref, Scan, View, Window
from tuner.drafting.terms import FOUND, READ, Term, Terms


@dataclass(frozen=True)
class Result:
    """A tensor that a kernel writes: a value for each element (`is_total` False) or for each row."""

    ref: Ref
    term: Term
    is_total: bool


@dataclass
class Kernel:
    """`space` is in the order of memory. Rows are counted by `rows`, elements of a row by `elements`.

    family     rows, elements
    map        leading axes, trailing axes
    turned     as map, of a result in the order of its dimensions from inputs with `elements` ahead of the rows' axes
               from `outer` on: channels-last
    rows       elements are innermost, or outermost and innermost (`segments` are the outermost)
    columns    `elements` lie between the first `outer` rows' axes and the others
    windows    elements of a result's plane; `window` is the node, `before` what it pools
               (rows and columns have a `window`, too, where they reduce what it pools without its being written)
    scan       as columns; `scan` is the node, `before` what runs
    """

    family: str
    space: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    elements: tuple[Axis, ...]
    outer: int = 0
    segments: int = 0
    results: list[Result] = field(default_factory=list)
    window: Window | None = None
    scan: Scan | None = None
    before: Term | None = None
    special: Term | None = None
    name: str = ""
    planes: tuple[Axis, ...] = ()  # of windows: axes of the plane that is pooled
    pooled: tuple[Axis, ...] = ()  # of rows and columns with a window: axes of the plane of its results

    @property
    def roots(self) -> tuple[Term, ...]:
        terms = tuple(result.term for result in self.results)
        return terms if self.before is None else (self.before, *terms)

    def terms(self) -> list[Term]:
        """All that it computes, parts first."""
        seen: dict[Term, None] = {}
        for root in self.roots:
            for term in root.walk():
                seen.setdefault(term)
        return list(seen)

    def reads(self) -> list[Term]:
        """Of tensors."""
        return [term for term in self.terms() if term.kind == READ and not term.is_position]

    @property
    def key(self) -> tuple[object, ...]:
        """Of kernels that may be one: what they go over."""
        return self.family, self.space, self.rows, self.elements, self.window

    def rounds(self) -> list[Term]:
        """What it reduces, a term for each monoid and lifted term (whichever field), in an order that works."""
        first: dict[tuple[str, Term], Term] = {}
        for term in self.terms():
            if term.kind == FOUND:
                first.setdefault((term.monoid, term.arguments[0]), term)
        return sorted(first.values(), key=lambda term: term.depth)


Store = Callable[[Ref], None]


@dataclass
class Builder:
    """Makes the kernel of one result. `stored` says what is in memory, and `store` puts something there first."""

    graph: Graph
    layouts: Layouts
    terms: Terms
    stored: Callable[[Ref], bool]
    store: Store
    memory: Callable[[Ref], tuple[Axis, ...]]  # the axes of a stored result as they lie in memory
    turns: bool = False  # whether maps may be of the family turned, which the CPU does not have

    def kernel(self, ref: Ref, contiguous: bool = True) -> Kernel:
        """The kernel that writes `ref`: `contiguous`, or totals in the order in which they are found."""
        axes = self.layouts.axes(ref)
        tops = self._tops(ref)
        special = [top for top in tops if isinstance(self.graph[top], Window | Scan)]
        if len(tops) == 1 and special and self.layouts.axes(special[0]) == axes:
            return self._special(ref, special[0])
        reduces = [top for top in tops if isinstance(self.graph[top], Reduce)]
        inside = {one for reduce in reduces for one in self._tops(self.graph[reduce].refs[0])}
        for reduce in sorted(reduces, key=lambda one: (one not in inside, *self._rank(one)), reverse=True):
            made = self._reducing(ref, reduce, contiguous)
            if made is not None:
                return made
        return self._mapped(ref)

    # ---- the parts of a region ------------------------------------------------------------------------

    def _tops(self, ref: Ref) -> list[Ref]:
        """The nearest results behind `ref` that are no maps of what is stored: reductions, windows, scans."""
        found: dict[Ref, None] = {}
        seen: set[Ref] = set()
        pending = [ref]
        while pending:
            one = pending.pop()
            if one in seen or self.stored(one):
                continue
            seen.add(one)
            node = self.graph[one]
            if isinstance(node, Map | View) and one not in self.layouts.kept:
                pending += node.refs
            elif isinstance(node, Reduce | Window | Scan):
                found.setdefault(one)
            elif isinstance(node, Gather):
                pending.append(node.index)
        return list(found)

    def _rank(self, ref: Ref) -> tuple[int, int]:
        """The reduction of most elements first; of equal ones the last, which may have others inside it."""
        node = self.graph[ref]
        assert isinstance(node, Reduce)
        return size_of(self.layouts.axes(node.operand)), self.graph.nodes.index(node)

    def term(self, ref: Ref, taken: Callable[[Ref], Term | None]) -> Term:
        """`ref` as a term; `taken` gives what the kernel finds itself."""
        known: dict[Ref, Term] = {}

        def of(one: Ref) -> Term:
            if one not in known:
                known[one] = self._term(one, of, taken)
            return known[one]

        return of(ref)

    def _term(self, ref: Ref, of: Callable[[Ref], Term], taken: Callable[[Ref], Term | None]) -> Term:
        found = taken(ref)
        if found is not None:
            return found
        node = self.graph[ref]
        if not self.stored(ref) and ref not in self.layouts.kept:
            if isinstance(node, Map) and not self._is_apart(ref, taken):
                return self.terms.scalar(node.expression, tuple(map(of, node.operands)), node.name)
            if isinstance(node, View):
                return of(node.operand)
            if isinstance(node, Gather):
                self.store(node.source)
                dims = self.layouts.of(node.source)
                return self.terms.read(node.source, self.memory(node.source), of(node.index), dims[node.axis])
        if isinstance(node, Constant) and node.is_position:
            return self.terms.position(ref, self.layouts.axes(ref))
        self.store(ref)
        return self.terms.read(ref, self.memory(ref))

    def _is_apart(self, ref: Ref, taken: Callable[[Ref], Term | None]) -> bool:
        """Whether a map of another kernel's totals is better computed there: they have been reduced to fewer axes."""
        tops = [top for top in self._tops(ref) if isinstance(self.graph[top], Reduce)]
        mine = set(self.layouts.axes(ref))
        return bool(tops) and all(
            taken(top) is None and set(self.layouts.axes(top)) == mine and self._is_fewer(top) for top in tops
        )

    def _is_fewer(self, top: Ref) -> bool:
        (operand,) = self.graph[top].refs
        return set(self.layouts.axes(top)) < set(self.layouts.axes(operand))

    # ---- kinds of kernels -----------------------------------------------------------------------------

    def _mapped(self, ref: Ref) -> Kernel:
        space = self.layouts.axes(ref)
        term = self.term(ref, lambda one: None)
        results = [Result(ref, term, False)]
        orders = {one.order for one in term.walk() if one.kind == READ and set(one.order) == set(space)}
        turned = [order for order in orders if order != space]
        if self.turns and len(turned) == 1:
            cut = _rotated(space, turned[0])
            if cut is not None:
                outer, first = cut
                return Kernel("turned", space, space[:first], space[first:], outer, results=results)
        rows, elements = _cut(space, term)
        return Kernel("map", space, rows, elements, results=results)

    def _special(self, ref: Ref, top: Ref) -> Kernel:
        node, axes = self.graph[top], self.layouts.axes(ref)
        special = self.terms.special(top, frozenset(axes))
        term = self.term(ref, lambda one: special if one == top else None)
        before = self._before(node.refs[0])
        if isinstance(node, Window):
            dims = self.layouts.of(top)
            rows = tuple(axis for axes in dims[: -len(node.kernel)] for axis in axes)
            elements = axes[len(rows) :]
            made = Kernel("windows", axes, rows, elements, window=node, planes=self._planes(node))
        else:
            assert isinstance(node, Scan)
            elements = self.layouts.of(top)[node.axis]
            first = axes.index(elements[0]) if elements else len(axes)
            rows = tuple(axis for axis in axes if axis not in elements)
            made = Kernel("scan", axes, rows, elements, outer=first, scan=node)
        return replace(made, before=before, special=special, results=[Result(ref, term, False)])

    def _before(self, ref: Ref) -> Term:
        """What a window or a scan goes over; it is written first where it would be read in another order."""
        axes = self.layouts.axes(ref)
        term = self.term(ref, lambda one: None)
        orders = {one.order for one in term.walk() if one.kind == READ and set(one.order) == set(axes)}
        if orders <= {axes}:
            return term
        self.store(ref)
        return self.terms.read(ref, self.memory(ref))

    def _reducing(self, ref: Ref, reduce: Ref, contiguous: bool) -> Kernel | None:
        """With `reduce` as a round; None where that is not over elements of one row of what `ref` needs."""
        node = self.graph[reduce]
        assert isinstance(node, Reduce)
        order = self._lying(node.operand)
        kept = self.layouts.axes(reduce)
        reduced = tuple(axis for axis in order if axis not in kept)
        mine = self.layouts.axes(ref)
        if set(mine) == set(kept):
            is_total, space = True, order
            found = tuple(axis for axis in order if axis in kept)
            if (contiguous and found != mine) or family_of(order, reduced) is None:
                space = (*mine, *reduced)
        elif set(mine) == {*kept, *reduced} and order == mine:
            is_total, space = False, mine
        else:
            return None
        shape = family_of(space, reduced)
        if shape is None:
            return None
        kept_set, reduced_set = frozenset(kept), frozenset(reduced)

        windows: dict[Ref, Window] = {}

        def taken(one: Ref) -> Term | None:
            inner = self.graph[one]
            if isinstance(inner, Window) and windows.keys() <= {one} and self._is_gathered(one):
                windows[one] = inner
                return self.terms.pooled(
                    one, self.term(inner.operand, lambda _: None), frozenset(self.layouts.axes(one))
                )
            if not isinstance(inner, Reduce) or self.stored(one) or one in self.layouts.kept:
                return None
            inside = frozenset(self.layouts.axes(inner.operand))
            if frozenset(self.layouts.axes(one)) != kept_set or inside != kept_set | reduced_set:
                return None
            return self.terms.found(one, inner.monoid, self.term(inner.operand, taken), kept_set)

        term = self.term(ref, taken)
        elements = tuple(axis for axis in space if axis in reduced_set)
        rows = tuple(axis for axis in space if axis in kept_set)
        made = replace(shape, space=space, rows=rows, elements=elements, results=[Result(ref, term, is_total)])
        for window in windows.values():
            made.window, made.planes = window, self._planes(window)
            made.pooled = tuple(
                axis for axes in self.layouts.of(Ref(window.name))[-len(window.kernel) :] for axis in axes
            )
        return made

    def _is_gathered(self, ref: Ref) -> bool:
        return not self.stored(ref) and is_gathered(self.graph, ref, self.layouts.kept)

    def _planes(self, node: Window) -> tuple[Axis, ...]:
        """The axes of the plane that is pooled."""
        return tuple(axis for axes in self.layouts.of(node.operand)[-len(node.kernel) :] for axis in axes)

    def _lying(self, ref: Ref) -> tuple[Axis, ...]:
        """The axes of a result as they lie in the largest tensor that it is computed from."""
        axes = self.layouts.axes(ref)
        seen: set[Ref] = set()
        pending = [ref]
        while pending:
            one = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            inner = self.graph[one]
            if self.stored(one) or not isinstance(inner, Map | View):
                lying = self._pooled_order(inner) if isinstance(inner, Window) else self.memory(one)
                if set(lying) == set(axes):
                    return lying
            else:
                pending += inner.refs
        return axes

    def _pooled_order(self, node: Window) -> tuple[Axis, ...]:
        """The axes of a pooling's result as those that it comes from lie in what is pooled, where it is gathered."""
        ref = Ref(node.name)
        dims, pooled = self.layouts.of(ref), self.layouts.of(node.operand)
        if not self._is_gathered(ref):
            return self.memory(ref)
        found: dict[Axis, None] = {}
        for axis in self._lying(node.operand):
            place = next(k for k, axes in enumerate(pooled) if axis in axes)
            found.update(dict.fromkeys(dims[place] if place >= len(dims) - len(node.kernel) else (axis,)))
        return tuple(found)


def family_of(space: Sequence[Axis], reduced: Iterable[Axis]) -> Kernel | None:
    """Which family reduces these axes of a space, as an empty kernel; None for none."""
    inside = [axis in set(reduced) for axis in space]
    count = sum(inside)
    if all(inside[len(space) - count :]):
        return Kernel("rows", (), (), ())
    first = inside.index(True)
    if all(inside[first : first + count]):
        return Kernel("columns", (), (), (), outer=first)
    leading = inside.index(False)
    trailing = count - leading
    if leading and trailing and all(inside[len(space) - trailing :]):
        return Kernel("rows", (), (), (), segments=leading)
    return None


def _rotated(space: tuple[Axis, ...], order: tuple[Axis, ...]) -> tuple[int, int] | None:
    """Where `space` is A, C, E and `order` A, E, C: the number of axes of A, and of A and C; None elsewhere."""
    same = 0
    while same < len(space) and space[same] is order[same]:
        same += 1
    for first in range(same + 1, len(space)):
        if (*space[first:], *space[same:first]) == order[same:]:
            return same, first
    return None


def _cut(space: tuple[Axis, ...], term: Term) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """Rows and elements of a map: elements are the trailing axes that every tensor has all of, or none."""
    reads = [one for one in term.walk() if one.kind == READ]
    patterns = [tuple(axis in one.order for one in reads) for axis in space]
    first = len(space)
    while first > 0 and patterns[first - 1] == patterns[-1]:
        first -= 1
    if first == 0 and len(space) > 1:
        first = 1
    return space[:first], space[first:]
