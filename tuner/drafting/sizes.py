"""Sizes as Python text: of the axes of a plan, from the tensors that a host has, or from a workload's shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.drafting.axes import Axis, Layouts
from tuner.drafting.graph import Graph, Product, Ref, Window
from tuner.drafting.naming import Names, product_word


@dataclass
class Sizes:
    """Names of sizes in one Python function. `lines` grow as sizes are asked for that are not known yet."""

    graph: Graph
    layouts: Layouts
    names: Names
    lines: list[str] = field(default_factory=list)
    known: dict[tuple[Axis, ...], str] = field(default_factory=dict)  # of one dimension each
    tensors: dict[Ref, str] = field(default_factory=dict)  # in the order in which they come to be
    refuse: str = ""  # the name of who refuses a dimension that its parts do not divide; "": nobody

    def of(self, axes: Sequence[Axis]) -> str:
        """The number of elements along these axes, as an expression."""
        left, factors = tuple(axes), list[str]()
        while left:
            count = next((n for n in range(len(left), 0, -1) if self.knows(left[:n])), 0)
            if count == 0:
                self._unpack(left[0])
                count = next(n for n in range(len(left), 0, -1) if self.knows(left[:n]))
            factors.append(self._text(left[:count]))
            left = left[count:]
        text = " * ".join(factors) or "1"
        return text[1:-1] if len(factors) == 1 and text.startswith("(") else text

    def shape(self, ref: Ref) -> list[str]:
        """Each dimension's size."""
        return [self.of(axes) for axes in self.layouts.of(ref)]

    def knows(self, axes: tuple[Axis, ...]) -> bool:
        return axes in self.known or (len(axes) == 1 and self._within(axes[0]) is not None)

    def can_know(self, axis: Axis) -> bool:
        """Whether a tensor that the function has tells the size."""
        return self.knows((axis,)) or any(axis in self.layouts.axes(ref) for ref in self.tensors)

    def _text(self, axes: tuple[Axis, ...]) -> str:
        if axes in self.known:
            return self.known[axes]
        within = self._within(axes[0])
        assert within is not None
        size, others = within
        if others == 1:
            return size
        self._whole(size, others)
        return f"({size} // {others})"

    def _within(self, axis: Axis) -> tuple[str, int] | None:
        """An axis that is part of a dimension: a size, and the other parts' number of elements to divide it by."""
        for axes, name in self.known.items():
            if axis in axes and len(axes) > 1:
                free = axes[0] if axes[0].name.startswith("samples") else axes[-1]
                if axis is not free:
                    return str(axis.size), 1
                others = math.prod(other.size for other in axes if other is not free)
                return (str(int(name) // others), 1) if name.isdigit() else (name, others)
        return None

    def _whole(self, name: str, others: int) -> None:
        """A line that refuses what would leave a rest."""
        line = f"if {name} % {others}:"
        if self.refuse and line not in self.lines:
            wanted = f"{self.refuse} takes {name} in multiples of {others}, not {{{name}}}"
            self.lines += [line, f'    raise RuntimeError(f"{wanted}")']

    def _unpack(self, axis: Axis) -> None:
        for ref, name in self.tensors.items():
            dims = self.layouts.of(ref)
            if any(axis in axes for axes in dims):
                self.named(ref, f"{name}.shape")
                return
        raise KeyError(axis.name)

    def named(self, ref: Ref, text: str, owner: str = "") -> None:
        """A line that gives every dimension of a tensor, which `text` has, a name; none where it is there already.

        The same dimension of the same `owner` has the same name in several plans.
        """
        words = []
        for k, axes in enumerate(self.layouts.of(ref)):
            if not axes or axes in self.known:
                words.append("_")
            else:
                word = product_word(axes)
                name = self.names.of((owner, ref, k), word) if owner else self.names.free(word)
                self.known[axes] = name
                words.append(name)
        line = f"{', '.join(words)} = {text}" if len(words) > 1 else f"({words[0]},) = {text}"
        if line not in self.lines:
            self.lines.append(line)


def pooled(node: Window, sizes: Sequence[str]) -> list[str]:
    """The sizes of a pooling's result along its dimensions, from those of its input, as expressions."""
    return [_pooled(node, k, size) for k, size in enumerate(sizes)]


def convolved(node: Product, kernel: Sequence[int], sizes: Sequence[str]) -> list[str]:
    """Those of a convolution's result with a `kernel` of these sizes."""
    return [_convolved(node, k, *one) for k, one in enumerate(zip(kernel, sizes, strict=True))]


def _pooled(node: Window, k: int, size: str) -> str:
    kernel, stride, padding, dilation = node.kernel[k], node.stride[k], node.padding[k], node.dilation[k]
    if node.ceil_mode:
        return f"pooled_size({size}, {kernel}, {stride}, {padding}, {dilation})"
    return _steps(size, 2 * padding - dilation * (kernel - 1), stride)


def _convolved(node: Product, k: int, kernel: int, size: str) -> str:
    stride, padding, reach = node.stride[k], node.padding[k], node.dilation[k] * (kernel - 1)
    if "transpose" not in node.kind:
        return _steps(size, 2 * padding - reach, stride)
    more = reach - 2 * padding + node.output_padding[k] + 1 - stride
    return plus(size if stride == 1 else f"{_factor(size)} * {stride}", more)


def _steps(size: str, more: int, stride: int) -> str:
    """(size + more - 1) // stride + 1, short."""
    if stride == 1:
        return plus(size, more)
    if more == 1 - stride:
        return f"{_factor(size)} // {stride}"
    return f"({plus(size, more - 1)}) // {stride} + 1"


def plus(size: str, more: int) -> str:
    return size if more == 0 else f"{size} {'+' if more > 0 else '-'} {abs(more)}"


def _factor(text: str) -> str:
    return f"({text})" if " + " in text or " - " in text else text
