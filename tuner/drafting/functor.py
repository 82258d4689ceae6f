"""The functor of one kernel: the C++ struct that a family takes (families/functor.hpp), and its launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.drafting.bodies import Body
from tuner.drafting.graph import Ref
from tuner.drafting.implicit import end_launcher
from tuner.drafting.launcher import Argument, arguments, launcher
from tuner.drafting.naming import RESERVED, Names, camel
from tuner.drafting.owned import Owned
from tuner.drafting.plan import Plan
from tuner.drafting.region import Kernel
from tuner.drafting.scope import Round, Scope
from tuner.drafting.terms import CONSTANT, FOUND, POOLED, READ, SPECIAL, Term
from tuner.drafting.text import braced, fields_of, indented


@dataclass
class Functor:
    """The text of a kernel: struct and launcher, and what the launcher takes."""

    kernel: Kernel
    struct: str
    launcher: str
    symbol: str
    arguments: list[Argument] = field(default_factory=list)
    rounds: int = 0


def functor(
    kernel: Kernel,
    types: dict[Ref, str],
    schedule: str,
    doc: str,
    real: str = "float",
    end_of: tuple[Plan, Owned] | None = None,
) -> Functor:
    """`types` are the C types of what is read; `schedule` is the struct that the including source defines.

    `real` is the type in which is computed; `end_of` the convolution of a plan whose end the kernel is.
    """
    return _Emitter(Scope(kernel, types, real), f"Fused{camel(kernel.name)}", schedule, doc, end_of).functor()


@dataclass
class _Emitter:
    scope: Scope
    name: str
    schedule: str
    doc: str
    end_of: tuple[Plan, Owned] | None = None
    members: dict[Term, str] = field(default_factory=dict)  # what Row holds, by stage
    items: dict[Term, str] = field(default_factory=dict)
    item_names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        self.kernel = self.scope.kernel
        self.results = [result for result in self.kernel.results if not result.is_total]
        self.totals = [result for result in self.kernel.results if result.is_total]

    # ---- what is kept where ---------------------------------------------------------------------------

    def functor(self) -> Functor:
        scope, kernel = self.scope, self.kernel
        self._choose_items()
        self._choose_members()
        functions = self._functions()
        struct = self._struct(functions)
        symbol = f"fused_{kernel.name}"
        if self.end_of is not None:
            one = end_launcher(*self.end_of, scope, self.name, symbol, self._total_type())
            return Functor(kernel, struct, one.text, symbol, one.arguments)
        given = arguments(scope, self._total_type())
        text = launcher(scope, self.name, self.schedule, symbol, given)
        return Functor(kernel, struct, text, symbol, given, len(scope.rounds))

    def _lifted(self) -> list[Term]:
        if self.kernel.before is not None:
            return [self.kernel.before]
        return [term for one in self.scope.rounds for term in one.lifted]

    def _choose_items(self) -> None:
        """What is kept of an element between rounds: what is computed of it before any, or what was read."""
        if not self.scope.rounds:
            return
        wanted = [*self._lifted(), *(result.term for result in self.results)]
        frontier: dict[Term, None] = {}
        raw: dict[Term, None] = {}
        pending, seen = list(wanted), set()
        while pending:
            term = pending.pop(0)
            if term in seen:
                continue
            seen.add(term)
            inputs = [one for one in term.walk() if one.kind == POOLED or self.scope.is_input(one)]
            if not inputs:
                continue
            if self.scope.stage(term) == 0 and not self.scope.is_row(term):
                frontier.setdefault(term)
                for one in inputs:
                    raw.setdefault(one)
            elif term.kind not in (FOUND, POOLED):
                pending += term.arguments
        kept = frontier if len(frontier) <= len(raw) else raw
        for term in kept:
            self.items[term] = self.item_names.free(term.name or "value")

    def _choose_members(self) -> None:
        """Row's members: terms that are the same along a row, wherever they are needed after they are computed."""
        for term in [*self.items, *self._lifted(), *(result.term for result in self.results)]:
            self._need_members(term, inside=term in self.items)
        for result in self.totals:
            self._need_leaves(result.term)
        pending = [term for term in self.members if self.scope.stage(term) > 0]
        while pending:
            before = set(self.members)
            for term in pending:
                for argument in term.arguments if term.kind != FOUND else ():
                    self._need_leaves(argument)
            pending = [term for term in self.members if term not in before and self.scope.stage(term) > 0]

    def _need_members(self, term: Term, inside: bool = False) -> None:
        """Terms of a row that `term`, computed for each element, is made of."""
        if term.kind == CONSTANT or (term in self.items and not inside):
            return
        if self.scope.is_row(term) and term.kind != SPECIAL:
            self._member(term)
            return
        if term.kind == FOUND:
            return
        for argument in term.arguments:
            self._need_members(argument)
        if term.kind == READ and not self.scope.is_input(term):
            self.scope.read(term, "row", "i", "0")  # where its row starts becomes a member, too

    def _need_leaves(self, term: Term) -> None:
        """What a term of a row is computed from, once rounds are closed: it cannot be read any more."""
        if term.kind == CONSTANT or term in self.members:
            return
        if term.kind in (READ, FOUND):
            self._member(term)
            return
        for argument in term.arguments:
            self._need_leaves(argument)

    def _member(self, term: Term) -> None:
        if term not in self.members:
            word = term.name or term.kind
            self.members[term] = self.scope.row_names.free(word)

    # ---- functions ------------------------------------------------------------------------------------

    def _body(self, row: str, counter: str = "i", items: str = "item.", closing: int = -1) -> Body:
        """Inside a function that has the Row `row`; `items` is what stands ahead of an item's field, "" where none."""
        scope = self.scope

        def given(term: Term) -> str | None:
            if closing >= 0 and term.kind == FOUND and scope.round_of(term) == closing:
                return _found(term, scope.rounds[closing], self._is_index(term), scope.real)
            if row and term in self.members and not (closing >= 0 and scope.stage(term) > closing):
                return f"{row}.{self.members[term]}"
            if items and term in self.items:
                return f"{items}{self.items[term]}"
            if term.kind == SPECIAL:
                return "running" if self.kernel.family == "scan" else "pooled"
            if scope.is_input(term):
                return f"in[{scope.inputs.index(term.ref)}]" if term.ref is not None else None
            return None

        taken = set(RESERVED) | set(scope.operands.values()) | set(scope.sizes.values()) | set(scope.dividers.values())

        def pooled() -> str:
            place = scope.number(scope.kernel.pooled, row, counter)
            function = f"[&](Index at) {{ return before({row or 'row'}, {counter}, at); }}"
            return f"window_at<{self.name}Windows>(plane, {place}, {function})"

        return Body(given, lambda term, index: scope.read(term, row, counter, index), pooled, taken, real=scope.real)

    def _is_index(self, term: Term) -> bool:
        return term.ref is not None and term.ref.field == "index"

    def _functions(self) -> list[str]:
        """All but row(), which is written last: the others ask for its members."""
        kernel, text = self.kernel, list[str]()
        n, m, real = max(1, len(self.scope.inputs)), max(1, len(self.results)), self.scope.real
        ins = f"const {real} (&in)[{n}]"
        outs = f"{real} (&out)[{m}]"
        terms = [result.term for result in self.results]
        if kernel.family in ("map", "turned"):
            head = f"void map(const Row& row, Index i, {ins}, {outs}) const"
            text.append(self._function(head, terms, self._body("row")))
        elif kernel.family == "windows":
            assert kernel.before is not None
            head = f"{real} before(const Row& row, Index i, {ins}) const"
            text.append(self._function(head, [kernel.before], self._body("row"), returns=True))
            head = f"void after(const Row& row, Index i, {real} pooled, {outs}) const"
            text.append(self._function(head, terms, self._body("row")))
        elif kernel.family == "scan":
            assert kernel.before is not None
            head = f"{real} lift(const Row& row, Index i, {ins}) const"
            text.append(self._function(head, [kernel.before], self._body("row"), returns=True))
            head = f"void results(const Row& row, Index i, {ins}, {real} running, {outs}) const"
            text.append(self._function(head, terms, self._body("row")))
        else:
            text += self._reductions(ins, outs, terms)
        return text

    def _reductions(self, ins: str, outs: str, terms: list[Term]) -> list[str]:
        text = []
        for term in [one for one in self.kernel.terms() if one.kind == POOLED]:
            head = f"{self.scope.real} before(const Row& row, Index i, Index at) const"
            text.append(self._function(head, term.arguments, self._body("row", items=""), returns=True))
        body = self._body("row", items="")
        values = body.values(list(self.items))
        head = f"Item item(const Row& row, Index i, {ins}) const"
        text.append(braced(head, body.lines, f"return {{{', '.join(values)}}};"))
        for k, one in enumerate(self.scope.rounds):
            kind = f"{one.state}::Value" if len(one.lifted) > 1 else self.scope.real
            head = f"{kind} lift(Round<{k}>, const Row& row, Index i, const Item& item) const"
            body = self._body("row")
            values = body.values(one.lifted)
            end = f"return {values[0]};" if len(values) == 1 else f"return {{{{{', '.join(values)}}}}};"
            text.append(braced(head, body.lines, end))
            text.append(self._close(k, one))
        if terms:
            head = f"void results(const Row& row, Index i, const Item& item, {outs}) const"
            text.append(self._function(head, terms, self._body("row")))
        else:
            text.append(
                f"TUNER_INLINE void results(const Row&, Index, const Item&, {self.scope.real} (&)[1]) const {{}}"
            )
        totals = [result.term for result in self.totals]
        head = f"void totals(const Row& row, Total (&out)[{max(1, len(totals))}]) const"
        if totals:
            text.append(self._function(head, totals, self._body("row"), convert=True))
        else:
            text.append("TUNER_INLINE void totals(const Row&, Total (&)[1]) const {}")
        return text

    def _close(self, k: int, one: Round) -> str:
        body = self._body("row", closing=k)
        mine = [term for term in self.members if self.scope.stage(term) == k + 1]
        values = body.values(mine)
        lines = [f"row.{self.members[term]} = {value};" for term, value in zip(mine, values, strict=True)]
        return braced(f"void close(Round<{k}>, Row& row, const {one.state}& found) const", [*body.lines, *lines], "")

    def _function(
        self, head: str, terms: Sequence[Term], body: Body, returns: bool = False, convert: bool = False
    ) -> str:
        values = body.values(terms)
        if returns:
            return braced(head, body.lines, f"return {values[0]};")
        if convert and self._total_type() == "Element":
            values = [f"to_element({value})" for value in values]
        lines = [f"out[{k}] = {value};" for k, value in enumerate(values)]
        return braced(head, [*body.lines, *lines], "")

    def _row(self) -> str:
        first = [term for term in self.members if self.scope.stage(term) == 0]
        body = self._body("", items="")
        values = body.values(first)
        lines = [f"row.{self.members[term]} = {value};" for term, value in zip(first, values, strict=True)]
        lines += [f"row.{name} = {text};" for text, (name, _) in self.scope.bases.items()]
        if not lines:
            return "TUNER_INLINE Row row(Index) const { return {}; }"
        return braced("Row row(Index r) const", ["Row row{};", *body.lines, *lines], "return row;")

    # ---- the struct and its launcher ------------------------------------------------------------------

    def _total_type(self) -> str:
        if any(result.ref.field == "index" or self._is_index(result.term) for result in self.totals):
            return "long long"
        return self.scope.types[self.totals[0].ref] if self.totals else self.scope.real

    def _struct(self, functions: list[str]) -> str:
        scope, kernel = self.scope, self.kernel
        row = self._row()
        n, m, t = len(scope.inputs), len(self.results), len(self.totals)
        counts = f"INPUTS = {n}, RESULTS = {m}"
        reducing = kernel.family in ("rows", "columns")
        lines = [f"// {line}" for line in self.doc.splitlines()]
        lines += [f"struct {self.name} {{", f"  static constexpr int {counts}{f', TOTALS = {t}' if reducing else ''};"]
        if kernel.scan is not None:
            scan = kernel.scan
            flags = ", ".join(
                f"{word} = {str(value).lower()}"
                for word, value in (
                    ("product", scan.monoid == "product"), ("reverse", scan.reverse), ("exclusive", scan.exclusive)
                )
            )  # fmt: skip
            lines.append(f"  static constexpr bool {flags};")
        if kernel.family == "rows":
            lines.append(f"  static constexpr bool SEGMENTED = {str(kernel.segments > 0).lower()};")
        if reducing:
            lines.append(f"  using Rounds = RoundsOf<{', '.join(one.state for one in scope.rounds)}>;")
            lines.append(f"  using Total = {self._total_type()};")
        lines.append(f"  const Element* input[{max(1, n)}];")
        lines.append(f"  Element* result[{max(1, m)}];")
        if reducing:
            lines.append(f"  Total* total[{max(1, t)}];")
        for ref, name in scope.operands.items():
            lines.append(f"  const {scope.types[ref]}* {name};")
        if scope.sizes:
            lines.append(f"  Index {', '.join(scope.sizes.values())};")
        if scope.dividers:
            lines.append(f"  Divider {', '.join(scope.dividers.values())};")
        if kernel.pooled:
            lines.append("  WindowPlane plane;")
        if self.scope.counts:
            lines.append("  double count;  // elements of a row")
        fields = [
            ("long long" if self._is_index(term) else scope.real, name) for term, name in self.members.items()
        ] + [(kind, name) for name, kind in scope.bases.values()]
        lines += ["", *fields_of("Row", fields)]
        if reducing:
            lines += fields_of("Item", [(scope.real, name) for name in self.items.values()])
        for function in [row, *functions]:
            lines += ["", *indented(function)] if function else []
        return "\n".join([*lines, "};"])


def _field(term: Term) -> str:
    return term.ref.field if term.ref is not None else ""


def _found(term: Term, one: Round, is_index: bool, real: str) -> str:
    """What a closed round has found, as a `real`."""
    field_ = _field(term)
    if one.monoid in ("sums", "sum", "mean"):
        value = f"found.value[{one.lifted.index(term.arguments[0])}]" if one.monoid == "sums" else "found.value"
        return f"static_cast<{real}>({value}{' / count' if term.monoid == 'moments' else ''})"
    if one.monoid == "moments":
        variance = "found.variance() * (count / (count - 1.0))"
        return (
            f"static_cast<{real}>({ {'mean': 'found.mean()', 'variance': 'found.variance()'}.get(field_, variance) })"
        )
    if one.monoid == "max_sum":
        return "found.max" if field_ == "max" else f"static_cast<{real}>(found.sum)"
    if is_index:
        return "static_cast<long long>(found.index)"
    return f"static_cast<{real}>(found.value)" if one.monoid == "product" else "found.value"
