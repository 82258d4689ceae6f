"""A graph under construction: nodes with names, and what lowerings share. No torch here."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tuner.drafting import functions
from tuner.drafting.graph import Constant, Map, Node, Reduce, Ref, View
from tuner.drafting.scalars import Scalar

# Words that a C++ or Python text cannot, or had better not, use for a value: they are counted from 1.
_TAKEN = {
    "abs", "all", "any", "auto", "bool", "bucket", "char", "class", "const", "default", "delete", "div", "do",
    "double", "else", "enum", "exp", "exp2", "explicit", "fabs", "false", "float", "floor", "fmod", "for", "friend",
    "goto", "half", "if", "inline", "input", "int", "log", "log2", "long", "main", "map", "max", "min", "mod",
    "namespace", "new", "null", "operator", "pow", "private", "product", "protected", "public", "range", "register",
    "return", "round", "rows", "set", "short", "signed", "sin", "sizeof", "slice", "sqrt", "static", "std", "struct",
    "sum", "switch", "tan", "tanh", "template", "this", "throw", "true", "try", "type", "typedef", "typename",
    "union", "unsigned", "using", "virtual", "void", "volatile", "while",
} | set(keyword.kwlist)  # fmt: skip


@dataclass(frozen=True)
class Full:
    """A tensor of one number: it needs no memory where it is used in a Map."""

    number: float
    shape: tuple[int, ...]
    dtype: str


Value = Ref | Full
Axes = tuple[int, ...]


def identifier(words: str) -> str:
    """`words` (a module path, say) as an identifier."""
    name = re.sub(r"\W+", "_", words, flags=re.ASCII).strip("_") or "value"
    return f"n{name}" if name[0].isdigit() else name


class Builder:
    """Collects nodes. Names are made unique here; `name` and `origin` of the operator that is lowered are set by it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.words: dict[str, str] = {}  # what each wanted to be called
        self.origin = ""
        self.batched: set[Ref] = set()  # results whose axis 0 is the batch's

    # ---- names and what is known of a value ----------------------------------------------------------

    def free_name(self, wanted: str) -> str:
        """`wanted`, with a number where it is taken."""
        name = identifier(wanted)
        number = 1 if name in _TAKEN else 0
        while True:
            candidate = f"{name}_{number}" if number else name
            if candidate not in self.nodes:
                return candidate
            number = max(2, number + 1)

    def shape(self, value: Value) -> tuple[int, ...]:
        return value.shape if isinstance(value, Full) else self.nodes[value.node].shape

    def dtype(self, value: Value) -> str:
        if isinstance(value, Full):
            return value.dtype
        return "int64" if value.field == "index" else self.nodes[value.node].dtype

    def is_batched(self, value: Value) -> bool:
        return isinstance(value, Ref) and value in self.batched

    # ---- nodes ---------------------------------------------------------------------------------------

    def add(self, node: Node, batched: bool = False, field: str = "") -> Ref:
        """Keep `node` under a free name like its own; its result `field`."""
        word = node.name
        node = replace(node, name=self.free_name(word), origin=node.origin or self.origin)
        self.words[node.name] = word
        self.nodes[node.name] = node
        ref = Ref(node.name, field)
        if batched:
            self.batched.add(ref)
        return ref

    def ref(self, value: Value) -> Ref:
        """A result that holds `value`."""
        if isinstance(value, Ref):
            return value
        number = f"torch.{value.number}" if math.isinf(value.number) or math.isnan(value.number) else ""
        number = (number or repr(_plain(value.number, value.dtype))).replace("torch.-inf", "-torch.inf")
        call = f"torch.full({value.shape}, {number}, dtype=torch.{value.dtype})"
        for node in self.nodes.values():
            if isinstance(node, Constant) and node.call == call:
                return Ref(node.name)
        return self.add(Constant("constant", value.shape, value.dtype, call=call))

    def map(
        self,
        name: str,
        function: Callable[..., Scalar],
        *values: Value | float,
        shape: Axes | None = None,
        dtype: str | None = None,
    ) -> Value:
        """`function` of the values' elements, which are broadcast; its dtype is the first tensor's unless given.

        A Full where all values are numbers.
        """
        shape = shape if shape is not None else broadcast(*(self.shape(v) for v in values if isinstance(v, Ref | Full)))
        dtype = dtype or self.dtype(next(v for v in values if isinstance(v, Ref | Full)))
        operands: list[Ref] = []
        scalars: list[Scalar] = []
        for value in values:
            if isinstance(value, Ref):
                if value not in operands:
                    operands.append(value)
                scalars.append(Scalar.operand(operands.index(value)))
            else:
                scalars.append(Scalar.constant(value.number if isinstance(value, Full) else value))
        expression = function(*scalars)
        if not operands:
            return Full(functions.number(expression), shape, dtype)
        if expression.name == "operand":
            same = operands[int(expression.number)]
            if (self.shape(same), self.dtype(same)) == (shape, dtype):
                return same
        used = sorted(expression.operands())
        if len(used) < len(operands):
            renumbered = tuple(Scalar.operand(used.index(k) if k in used else 0) for k in range(len(operands)))
            expression, operands = expression.with_operands(renumbered), [operands[k] for k in used]
        batched = any(self.is_batched(o) and len(self.shape(o)) == len(shape) for o in operands)
        return self.add(Map(name, shape, dtype, operands=tuple(operands), expression=expression), batched)

    def reduce(self, name: str, monoid: str, value: Value, axes: Axes, field: str = "", dtype: str = "") -> Ref:
        """`monoid` over `axes`, which stay, of size 1; of a 0-dim value over none."""
        ref = self.ref(value)
        shape = tuple(1 if k in axes else n for k, n in enumerate(self.shape(ref)))
        batched = self.is_batched(ref) and 0 not in axes
        return self.add(Reduce(name, shape, dtype or self.dtype(ref), monoid, ref, axes), batched, field)

    def field(self, reduced: Ref, field: str) -> Ref:
        """Another result of the same reduction."""
        ref = Ref(reduced.node, field)
        if reduced in self.batched:
            self.batched.add(ref)
        return ref

    def reshape(self, value: Value, shape: Sequence[int], name: str = "") -> Value:
        """The elements in the same order in another shape."""
        shape = tuple(shape)
        if self.shape(value) == shape:
            return value
        if isinstance(value, Full):
            return replace(value, shape=shape)
        batched = self.is_batched(value) and bool(shape)
        made = View(name or f"{value.node}_view", shape, self.dtype(value), "reshape", value, batch=batched)
        return self.add(made, batched)

    def permute(self, value: Value, order: Axes, name: str = "") -> Value:
        """Axis k of the result is axis order[k]."""
        if order == tuple(range(len(order))):
            return value
        shape = tuple(self.shape(value)[k] for k in order)
        if isinstance(value, Full):
            return replace(value, shape=shape)
        batched = self.is_batched(value) and order[0] == 0
        view = View(name or f"{value.node}_permuted", shape, self.dtype(value), "permute", value, order=order)
        return self.add(view, batched)

    def expand(self, value: Value, shape: Sequence[int], name: str = "") -> Value:
        """Axes of size 1 repeated, and new ones in front."""
        shape = tuple(shape)
        if self.shape(value) == shape:
            return value
        if isinstance(value, Full):
            return replace(value, shape=shape)
        missing = len(shape) - len(self.shape(value))
        same = self.reshape(value, (1,) * missing + self.shape(value)) if missing else value
        batched = self.is_batched(same) and self.shape(same)[0] == shape[0]
        view = View(name or f"{value.node}_expanded", shape, self.dtype(value), "expand", self.ref(same))
        return self.add(view, batched)

    def slice(self, value: Value, axis: int, start: int, step: int, size: int, name: str = "") -> Value:
        """`size` positions of `axis` from `start` on, each `step`-th."""
        old = self.shape(value)
        shape = (*old[:axis], size, *old[axis + 1 :])
        if shape == old and step == 1:
            return value
        if isinstance(value, Full):
            return replace(value, shape=shape)
        starts = tuple(start if k == axis else 0 for k in range(len(old)))
        steps = tuple(step if k == axis else 1 for k in range(len(old)))
        view = View(name or f"{value.node}_slice", shape, self.dtype(value), "slice", value, starts=starts, steps=steps)
        return self.add(view, self.is_batched(value) and axis != 0)

    def squeezed(self, value: Value, axes: Axes, keep: bool, name: str) -> Value:
        """A reduction's result as the user's operator gives it: without its axes, unless it keeps them."""
        if keep:
            return value
        return self.reshape(value, [n for k, n in enumerate(self.shape(value)) if k not in axes], name)

    def along(self, value: Value | None, rank: int, axis: int, name: str = "") -> Value | None:
        """A vector as a tensor of `rank` axes that lies along `axis`."""
        if value is None:
            return None
        (size,) = self.shape(value)
        return self.reshape(value, [size if k == axis else 1 for k in range(rank)], name)


def broadcast(*shapes: Axes) -> Axes:
    """The shape that all of these are broadcast to."""
    rank = max((len(shape) for shape in shapes), default=0)
    whole = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*whole, strict=True))


def with_refs(node: Node, change: Callable[[Ref], Ref]) -> Node:
    """The node with every Ref that it reads changed."""
    changes = {f.name: _changed(getattr(node, f.name), change) for f in fields(node)}
    return replace(node, **{k: v for k, v in changes.items() if v != getattr(node, k)})


def _changed(value: Any, change: Callable[[Ref], Ref]) -> Any:
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_changed(item, change) for item in value)
    return value


def _plain(number: float, dtype: str) -> float | int | bool:
    if dtype == "bool":
        return bool(number)
    return int(number) if "int" in dtype else number
