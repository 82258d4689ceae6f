"""One ATen operator's call, as lowerings see it. No torch here: values are Refs, Fulls, numbers, lists and None."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tuner.drafting.builder import Axes, Builder, Full, Value
from tuner.drafting.graph import Ref
from tuner.drafting.scalars import Scalar


@dataclass(frozen=True)
class Operation:
    """`name` is what its result is called, `operator` and `overload` aten's words for it.

    `arguments` holds every argument by the schema's name, defaults included. `shape` and `dtype` are its first
    result's; `uses` says of each result of several whether anything reads it.
    """

    builder: Builder
    name: str
    operator: str
    overload: str
    arguments: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    uses: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[0]

    @property
    def dtype(self) -> str:
        return self.dtypes[0]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has, or that may be None."""
        found = self.arguments.get(name)
        return default if found is None else found

    @property
    def x(self) -> Value:
        """The first tensor."""
        found = next(v for v in self.arguments.values() if isinstance(v, Ref | Full))
        assert isinstance(found, Ref | Full)
        return found

    def map(self, function: Callable[..., Scalar], *values: Value | float, part: str = "", dtype: str = "") -> Value:
        """A Map of the operator's own shape and dtype; `part` where it has several."""
        own = None if part else self.shape
        kind = dtype or (None if part else self.dtype)
        return self.builder.map(self.part(part), function, *values, shape=own, dtype=kind)

    def part(self, word: str) -> str:
        """The name of a part of what the operator does."""
        return f"{self.name}_{word}" if word else self.name

    def shape_of(self, value: Value) -> Axes:
        return self.builder.shape(value)

    def dtype_of(self, value: Value) -> str:
        return self.builder.dtype(value)

    def rank(self, value: Value) -> int:
        return len(self.shape_of(value))

    def axes(self, value: Value, given: object) -> Axes:
        """Axes as the schema has them (a number, a list, None or [] for all), ascending and not negative."""
        rank = self.rank(value)
        if given is None or given == []:
            return tuple(range(rank))
        several = [given] if isinstance(given, int) else list(given) if isinstance(given, list | tuple) else []
        return tuple(sorted({axis % rank for axis in several})) if rank else ()


Lowered = Value | tuple[Value | None, ...] | None
Lowering = Callable[[Operation], Lowered]
"""What makes nodes of an operation: its result, or its results, or None: it is left to PyTorch."""
