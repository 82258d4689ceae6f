"""Where an element lies: an axis's number from those of the row and the element, and addresses made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuner.drafting.axes import Axis, size_of

Size = Callable[[tuple[Axis, ...]], str]  # the name of a number of elements


@dataclass(frozen=True)
class Run:
    """Axes that lie side by side in a tensor's memory and in what counts them.

    That is "rows", "elements", "planes" or "picked".
    """

    where: str
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Counted:
    """What counts a kernel's places: rows by `r`, elements of a row by `i`; the outermost axis first.

    `planes` are the axes of what a window goes over, counted by `at`.
    """

    rows: tuple[Axis, ...]
    elements: tuple[Axis, ...]
    planes: tuple[Axis, ...] = ()

    def runs(self, order: Sequence[Axis], picked: Sequence[Axis] = ()) -> list[Run]:
        """The order of a tensor's axes, cut into runs."""
        found: list[Run] = []
        for axis in order:
            where = "picked" if axis in picked else self._where(axis)
            line = picked if where == "picked" else self._line(where)
            last = found[-1] if found else None
            if last is not None and last.where == where and _next(line, last.axes[-1]) is axis:
                found[-1] = Run(where, (*last.axes, axis))
            else:
                found.append(Run(where, (axis,)))
        return found

    def _where(self, axis: Axis) -> str:
        return "rows" if axis in self.rows else "planes" if axis in self.planes else "elements"

    def _line(self, where: str) -> tuple[Axis, ...]:
        return {"rows": self.rows, "planes": self.planes, "elements": self.elements}[where]

    def number(self, run: Run, divider: Size, counter: str) -> str:
        """The number of a place along a run's axes, from `counter`. `divider` names what divides by a size."""
        line = self._line(run.where)
        first = line.index(run.axes[0])
        rest = tuple(line[first + len(run.axes) :])
        text = f"{divider(rest)}.quotient({counter})" if rest else counter
        return text if first == 0 else f"{divider(run.axes)}.remainder({text})"


def _next(line: Sequence[Axis], axis: Axis) -> Axis | None:
    at = line.index(axis) + 1
    return line[at] if at < len(line) else None


def address(runs: Sequence[Run], numbers: Sequence[str], size: Size, wide: bool = False) -> str:
    """The place of an element in memory: `numbers` are those of the runs, the outermost first.

    A `wide` one is computed in 64 bits: its products would wrap in 32.
    """
    text = ""
    for run, number in zip(runs, numbers, strict=True):
        if not text:
            text = _widened(number) if wide and len(runs) > 1 else number
        else:
            outer = f"({text})" if " + " in text else text
            text = f"{outer} * {size(run.axes)} + {number}"
    return text or "0"


def strided(runs: Sequence[Run], numbers: Sequence[str | None], size: Size, wide: bool = False) -> str:
    """The part of an address that comes from the runs whose number is given, each times what lies inside it."""
    parts: list[str] = []
    for k, number in enumerate(numbers):
        if number is None:
            continue
        inside = [size(run.axes) for run in runs[k + 1 :]]
        parts.append(" * ".join([_widened(number) if wide and inside else number, *inside]))
    return " + ".join(parts) or "0"


def _widened(number: str) -> str:
    return f"static_cast<long long>({number})"


def is_wide(order: Sequence[Axis]) -> bool:
    """Whether an address in such a tensor may not fit 32 bits."""
    return size_of(order) >= 2**26
