"""The body of one function of a functor: terms as C++ statements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tuner.drafting.naming import Names
from tuner.drafting.terms import CONSTANT, FOUND, POOLED, READ, SPECIAL, Term
from tuner.errors import TemplateError

INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}
ATOM = 9
LEAVES = (FOUND, POOLED, SPECIAL)  # terms whose arguments are computed elsewhere


BEYOND = 2.0**128 - 2.0**103  # what rounds to more than the largest float


def literal(number: float, real: str = "float") -> str:
    """A number as C++ has one of the type `real`, float or double."""
    if math.isnan(number):
        return "NAN"
    if abs(number) >= (BEYOND if real == "float" else math.inf):  # as PyTorch has it of a number beside a float tensor
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number!r}f" if real == "float" else repr(number)


@dataclass
class Body:
    """`given` are terms that are there already, `read` gives the text of a read; `lines` grow as values are asked."""

    given: Callable[[Term], str | None]
    read: Callable[[Term, str], str]
    pooled: Callable[[], str] = str  # the text of the value of a window
    taken: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    real: str = "float"

    def __post_init__(self) -> None:
        self.names = Names(set(self.taken))
        self.texts: dict[Term, tuple[str, int]] = {}
        self.uses: Counter[Term] = Counter()

    def values(self, terms: Sequence[Term]) -> list[str]:
        """The texts of these terms; what has a name, or is used twice, becomes a line ahead."""
        self._count(terms)
        return [self._text(term, last=True)[0] for term in terms]

    def _count(self, terms: Sequence[Term]) -> None:
        pending, seen = list(terms), set(self.texts)
        self.uses.update(terms)
        while pending:
            term = pending.pop()
            if term in seen or self.given(term) is not None:
                continue
            seen.add(term)
            arguments = () if term.kind in LEAVES else term.arguments
            self.uses.update(arguments)
            pending += arguments

    def _text(self, term: Term, last: bool = False) -> tuple[str, int]:
        if term in self.texts:
            return self.texts[term]
        given = self.given(term)
        if given is not None:
            return given, ATOM
        text, binds = self._expression(term)
        line = self.uses[term] > 1 or (term.name != "" and not last and term.kind != READ)
        if line and term.kind != CONSTANT:
            name = self.names.free(term.name or f"{term.kind}_of")
            self.lines.append(f"const {self.real} {name} = {text};")
            text, binds = name, ATOM
        self.texts[term] = text, binds
        return text, binds

    def _expression(self, term: Term) -> tuple[str, int]:
        if term.kind == CONSTANT:
            return literal(term.number, self.real), ATOM if term.number >= 0 else 3
        if term.kind == READ:
            index = self._text(term.arguments[0])[0] if term.arguments else ""
            return self.read(term, index), ATOM
        if term.kind == POOLED:
            return self.pooled(), ATOM
        if term.kind in (FOUND, SPECIAL):
            raise TemplateError(f"{term.name}: is not known where it is needed")
        parts = [self._text(argument) for argument in term.arguments]
        if term.kind in INFIX:
            sign, binds = INFIX[term.kind]
            (left, a), (right, b) = parts
            left = f"({left})" if a < binds else left
            right = f"({right})" if b <= binds or right.startswith("-") else right
            return f"{left} {sign} {right}", binds
        if term.kind == "neg":
            text, binds = parts[0]
            return f"-({text})" if binds < ATOM else f"-{text}", 3
        return f"fn::{term.kind}({', '.join(text for text, _ in parts)})", ATOM
