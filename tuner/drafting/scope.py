"""What one functor has: the tensors that it reads, sizes, and what its Row and Item hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuner.drafting.addresses import Counted, Run, address, is_wide, strided
from tuner.drafting.axes import Axis
from tuner.drafting.graph import Ref
from tuner.drafting.naming import Names, product_word
from tuner.drafting.region import Kernel
from tuner.drafting.terms import FOUND, READ, Term
from tuner.errors import TemplateError

C_TYPES = {"int64": "long long", "int32": "int", "int16": "short", "int8": "signed char", "uint8": "unsigned char",
           "bool": "bool"}  # fmt: skip


@dataclass
class Round:
    """A reduction of a kernel: one state, of one term or of several that are summed."""

    state: str
    monoid: str
    lifted: tuple[Term, ...]
    found: list[Term] = field(default_factory=list)


@dataclass
class Scope:
    """Names and places of one kernel's functor."""

    kernel: Kernel
    types: dict[Ref, str]
    real: str = "float"  # the type in which is computed: double, where the elements are
    names: Names = field(default_factory=Names)  # of the functor's members
    row_names: Names = field(default_factory=Names)
    inputs: list[Ref] = field(default_factory=list)
    operands: dict[Ref, str] = field(default_factory=dict)
    sizes: dict[tuple[Axis, ...], str] = field(default_factory=dict)
    dividers: dict[tuple[Axis, ...], str] = field(default_factory=dict)
    bases: dict[str, tuple[str, str]] = field(default_factory=dict)  # address at a row's start -> its name and type

    def __post_init__(self) -> None:
        kernel = self.kernel
        self.counted = Counted(kernel.rows, kernel.elements, () if kernel.family == "windows" else kernel.planes)
        self.planes = Counted(kernel.rows, kernel.planes)
        for term in kernel.reads():
            assert term.ref is not None
            if not self.is_input(term):
                self.operand(term.ref)
            elif term.ref not in self.inputs:
                self.inputs.append(term.ref)
        self.rounds = rounds_of(kernel)

    # ---- reads ----------------------------------------------------------------------------------------

    def is_input(self, term: Term) -> bool:
        """Whether the family itself loads it, element by element."""
        if not self.kernel.space:
            return False  # the one element is the same along its row
        if (
            term.kind != READ
            or term.is_position
            or term.arguments
            or term.ref is None
            or self.types[term.ref] != "Element"
        ):
            return False
        kernel = self.kernel
        whole = (*kernel.rows, *kernel.planes) if kernel.family == "windows" else kernel.space
        if kernel.family == "turned":
            whole = (*kernel.rows[: kernel.outer], *kernel.elements, *kernel.rows[kernel.outer :])
        if kernel.family == "windows" and not set(term.order) >= set(kernel.planes):
            return False
        return term.order == whole

    def is_row(self, term: Term) -> bool:
        """Whether it is the same all along a row."""
        return not (term.axes & (set(self.kernel.elements) | set(self.kernel.planes)))

    def operand(self, ref: Ref) -> str:
        if ref not in self.operands:
            self.operands[ref] = self.names.of(ref, f"{ref.node}_{ref.field}" if ref.field else ref.node)
        return self.operands[ref]

    def size(self, axes: tuple[Axis, ...]) -> str:
        if axes not in self.sizes:
            self.sizes[axes] = self.names.of(axes, product_word(axes))
        return self.sizes[axes]

    def divider(self, axes: tuple[Axis, ...]) -> str:
        if axes not in self.dividers:
            self.dividers[axes] = self.names.of(("by", axes), f"by_{product_word(axes)}")
        return self.dividers[axes]

    def read(self, term: Term, row: str, counter: str, index: str) -> str:
        """The text of a read that is no input. `row` is the Row, or "" where it is just being made from `r`."""
        assert term.ref is not None
        counted = self.planes if counter == "i" and self._is_before(term) else self.counted
        place = self._place(counted, counted.runs(term.order, term.picked), row, counter, index, is_wide(term.order))
        if term.is_position:
            return f"static_cast<{self.real}>({place})"
        kind = self.types[term.ref]
        text = f"{self.operand(term.ref)}[{place}]"
        if kind == "Element":
            return f"to_float({text})"
        return text if kind == self.real else f"static_cast<{self.real}>({text})"

    def number(self, axes: tuple[Axis, ...], row: str, counter: str) -> str:
        """The text of a place's number along `axes`, the outermost first."""
        return self._place(self.counted, self.counted.runs(axes), row, counter, "", False)

    def _place(self, counted: Counted, runs: list[Run], row: str, counter: str, index: str, wide: bool) -> str:
        counters = {"rows": "r", "planes": "at", "elements": counter}
        numbers: list[str | None] = []
        for run in runs:
            if run.where == "picked":
                numbers.append(f"static_cast<Index>({index})")
            else:
                numbers.append(counted.number(run, self.divider, counters[run.where]))
        outer = [run.where == "rows" for run in runs]
        if row and all(outer) and runs:
            base = strided(runs, numbers, self.size, wide)
            return f"{row}.{self._base(base, runs, wide)}"
        if row and any(outer):
            base = strided(runs, [n if o else None for n, o in zip(numbers, outer, strict=True)], self.size, wide)
            rest = strided(runs, [None if o else n for n, o in zip(numbers, outer, strict=True)], self.size, wide)
            return f"{row}.{self._base(base, runs, wide)} + {rest}"
        return address(runs, [n or "" for n in numbers], self.size, wide)

    def _is_before(self, term: Term) -> bool:
        return self.kernel.family == "windows" and bool(term.axes & set(self.kernel.planes))

    def _base(self, text: str, runs: list[Run], wide: bool) -> str:
        if text not in self.bases:
            axes = [axis for run in runs if run.where == "rows" for axis in run.axes]
            wanted = f"{axes[-1].name.removesuffix('s')}_at"
            self.bases[text] = (self.row_names.of(text, wanted), "long long" if wide else "Index")
        return self.bases[text][0]

    @property
    def counts(self) -> bool:
        """Whether a mean or an unbiased variance asks for the number of elements."""
        return any(
            term.monoid == "moments"
            and (one.monoid != "moments" or (term.ref is not None and term.ref.field == "unbiased"))
            for one in self.rounds
            for term in one.found
        )

    def stage(self, term: Term) -> int:
        """The number of rounds that have to be closed before it can be computed."""
        found = [inner for inner in term.walk() if inner.kind == FOUND]
        return max((self.round_of(inner) + 1 for inner in found), default=0)

    def round_of(self, term: Term) -> int:
        for k, one in enumerate(self.rounds):
            if term in one.found:
                return k
        raise TemplateError(f"{term.name}: a reduction of no round")


STATES = {
    "sum": "SumState", "mean": "SumState", "product": "ProductState", "max": "MaxState", "min": "MinState",
    "any": "AnyState", "all": "AllState", "moments": "MomentsState", "max_sum": "MaxSumState",
    "argmax": "ArgMaxState", "argmin": "ArgMinState",
}  # fmt: skip


def rounds_of(kernel: Kernel) -> list[Round]:
    """The kernel's reductions. Sums that can be had at the same time are one round; a mean alone is a sum."""
    grouped: dict[tuple[str, Term], list[Term]] = {}
    for term in kernel.terms():
        if term.kind == FOUND:
            grouped.setdefault((term.monoid, term.arguments[0]), []).append(term)
    made: list[tuple[int, Round]] = []
    for (monoid, lifted), found in grouped.items():
        fields = {term.ref.field for term in found if term.ref is not None}
        monoid = "mean" if monoid == "moments" and fields == {"mean"} else monoid
        made.append((found[0].depth, Round(STATES[monoid], monoid, (lifted,), found)))
    rounds: list[Round] = []
    for depth in sorted({depth for depth, _ in made}):
        together = [one for at, one in made if at == depth]
        sums = [one for one in together if one.state == "SumState"]
        rounds += [one for one in together if one.state != "SumState"]
        if len(sums) == 1:
            rounds += sums
        elif sums:
            each = tuple(one.lifted[0] for one in sums)
            found = [term for one in sums for term in one.found]
            rounds.append(Round(f"SumsState<{len(sums)}>", "sums", each, found))
    return rounds
