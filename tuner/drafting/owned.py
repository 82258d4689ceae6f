"""Convolutions by a kernel of our own (convolution/implicit.cuh), with a kernel of the plan as their end.

Such a kernel reads the convolution's output where it is computed, and the output is written only where others read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.drafting.graph import Graph, Product, Ref
from tuner.drafting.naming import camel
from tuner.drafting.region import Kernel

MOST_TAPS = 160  # of the kernel: the steps of a chunk stand one after the other in the machine's code
MOST_COLUMNS = 128  # of a block


@dataclass(frozen=True)
class Owned:
    """A convolution of ours: the kernel that is its end, or None; and whether its output is written."""

    node: Product
    kernel_sizes: tuple[int, ...]
    channels: tuple[int, int]  # in, out
    end: Kernel | None
    kept: bool

    @property
    def ref(self) -> Ref:
        return Ref(self.node.name)

    @property
    def is_transposed(self) -> bool:
        return "transpose" in self.node.kind

    @property
    def phases(self) -> int:
        """Outputs of a row that a place of the product stands for."""
        return self.node.stride[-1] if self.is_transposed else 1

    @property
    def geometry(self) -> str:
        return f"{camel(self.node.name)}Geometry"

    @property
    def schedule(self) -> str:
        return f"{camel(self.node.name)}Schedule"

    def together(self, samples: int) -> int:
        """Channels that a row of its end holds; the first `samples` axes of the rows count samples."""
        if self.end is None or self.end.family != "rows":
            return 1
        return self.channels[1] // math.prod(axis.size for axis in self.end.rows[samples:])

    @property
    def packed_bytes(self) -> int:
        """What ImplicitLayout::packed_words takes for any schedule, or more."""
        columns = -(-self.channels[1] * self.phases // MOST_COLUMNS) * MOST_COLUMNS
        classes = math.prod(self.node.stride[:-1]) if self.is_transposed else 1
        taps = math.prod(self.kernel_sizes) + 2 * classes * (self.kernel_sizes[-1] + 1)
        return 4 * 2 * columns * (-(-self.channels[0] // 32) * 32) * taps * (2 if self.phases > 1 else 1)

    def struct(self) -> str:
        """The geometry as implicit_layout.cuh has it."""

        def three(values: tuple[int, ...], filling: int) -> str:
            return f"{{{', '.join(map(str, (filling,) * (3 - len(values)) + values))}}}"

        node, (channels, out) = self.node, self.channels
        return (
            f"struct {self.geometry} {{  // depth, height, width\n"
            f"  static constexpr int in = {channels}, out = {out};\n"
            f"  static constexpr int kernel[3] = {three(self.kernel_sizes, 1)}, stride[3] = {three(node.stride, 1)};\n"
            f"  static constexpr int padding[3] = {three(node.padding, 0)}, dilation[3] = {three(node.dilation, 1)};\n"
            f"  static constexpr bool transposed = {str(self.is_transposed).lower()};\n"
            "};"
        )


def can_own(graph: Graph, node: Product) -> bool:
    """Whether implicit.cuh computes it."""
    if not node.is_convolution or node.dtype != "float32" or node.groups != 1 or node.bias is not None:
        return False
    kernel = graph[node.weight].shape[2:]
    if "transpose" in node.kind and any(
        stride > 1 and (dilation > 1 or size < stride)
        for stride, dilation, size in zip(node.stride, node.dilation, kernel, strict=True)
    ):
        return False
    few = "transpose" not in node.kind or (node.stride[-1] <= 2 and math.prod(node.stride) <= 8)
    return few and math.prod(kernel) <= MOST_TAPS
