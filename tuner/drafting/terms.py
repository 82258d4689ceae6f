"""Terms: what one element of a kernel's result is computed from. Pure data, equal ones are the same object.

A term is a scalar expression whose leaves are reads of tensors in memory and what the kernel itself finds: a reduction
of a term over the kernel's elements, a window's value, a running total. What a term depends on is the numbers along its
`axes` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tuner.drafting.axes import Axis
from tuner.drafting.graph import Ref
from tuner.drafting.scalars import Scalar

READ, FOUND, SPECIAL, POOLED, CONSTANT = "read", "found", "special", "pooled", "constant"


@dataclass(frozen=True, eq=False)
class Term:
    """`kind` is a function's name or

    constant   `number`
    read       the element of `ref`, a tensor with memory order `order`; with an argument, that picks along `picked`
    found      the result `ref` of a reduction by `monoid` of the argument over the kernel's elements
    special    what a kernel of windows or a scan hands over: the window's value, the running total
    pooled     the window `ref`'s value of the argument, which is a term of an element of the plane that is pooled
    `name` is the user's word for it, or "".
    """

    kind: str
    arguments: tuple[Term, ...] = ()
    number: float = 0.0
    ref: Ref | None = None
    monoid: str = ""
    order: tuple[Axis, ...] = ()
    picked: tuple[Axis, ...] = ()
    name: str = ""
    axes: frozenset[Axis] = field(default=frozenset())
    is_position: bool = False  # a read of what counts along `order`: no tensor is there for it
    depth: int = 0  # reductions, one after the other, that have to be done first

    def walk(self) -> Iterator[Term]:
        """It and all that it is made of, each once, parts first."""
        seen: set[Term] = set()
        stack = [(self, False)]
        while stack:
            term, opened = stack.pop()
            if opened:
                yield term
            elif term not in seen:
                seen.add(term)
                stack.append((term, True))
                stack += [(argument, False) for argument in reversed(term.arguments)]


class Terms:
    """Makes terms, equal ones once."""

    def __init__(self) -> None:
        self.known: dict[object, Term] = {}

    def _kept(self, key: tuple[object, ...], made: Term) -> Term:
        return self.known.setdefault(key, made)

    def constant(self, number: float) -> Term:
        return self._kept((CONSTANT, repr(number)), Term(CONSTANT, number=number))

    def read(self, ref: Ref, order: tuple[Axis, ...], index: Term | None = None, picked: tuple[Axis, ...] = ()) -> Term:
        arguments = () if index is None else (index,)
        axes = frozenset(order) - frozenset(picked)
        if index is not None:
            axes |= index.axes
        made = Term(
            READ, arguments, ref=ref, order=order, picked=picked, name=_word(ref), axes=axes,
            depth=max((a.depth for a in arguments), default=0),
        )  # fmt: skip
        return self._kept((READ, ref, order, picked, False, *map(id, arguments)), made)

    def position(self, ref: Ref, order: tuple[Axis, ...]) -> Term:
        made = Term(READ, ref=ref, order=order, name=_word(ref), axes=frozenset(order), is_position=True)
        return self._kept((READ, ref, order, (), True), made)

    def found(self, ref: Ref, monoid: str, lifted: Term, kept: frozenset[Axis]) -> Term:
        made = Term(FOUND, (lifted,), ref=ref, monoid=monoid, name=_word(ref), axes=kept, depth=lifted.depth + 1)
        return self._kept((FOUND, monoid, ref.field, id(lifted)), made)

    def special(self, ref: Ref, axes: frozenset[Axis]) -> Term:
        return self._kept((SPECIAL, ref), Term(SPECIAL, ref=ref, name=_word(ref), axes=axes))

    def pooled(self, ref: Ref, before: Term, axes: frozenset[Axis]) -> Term:
        return self._kept((POOLED, ref, id(before)), Term(POOLED, (before,), ref=ref, name=_word(ref), axes=axes))

    def function(self, kind: str, arguments: tuple[Term, ...], name: str = "") -> Term:
        axes = frozenset(axis for argument in arguments for axis in argument.axes)
        depth = max((argument.depth for argument in arguments), default=0)
        made = Term(kind, arguments, name=name, axes=axes, depth=depth)
        return self._kept((kind, *map(id, arguments)), made)

    def scalar(self, expression: Scalar, operands: tuple[Term, ...], name: str) -> Term:
        """The expression of a Map with terms for its operands; the whole is called `name`."""
        if expression.name == "operand":
            return operands[int(expression.number)]
        if expression.name == "constant":
            return self.constant(expression.number)
        parts = tuple(self.scalar(argument, operands, "") for argument in expression.arguments)
        return self.function(expression.name, parts, name)


def _word(ref: Ref) -> str:
    return f"{ref.node}_{ref.field}" if ref.field else ref.node
