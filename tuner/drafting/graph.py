"""What a problem computes, as data: values, and the nodes that they come from. No torch here.

A graph is a list of nodes in an order in which each can be computed. A node has one result, or, where `FIELDS` of its
monoid says so, several of one shape (a mean and a variance). Every other thing names a result by a `Ref`.

    Product   a convolution or matrix product: what fused kernels do not compute themselves
    Map       a scalar expression of the elements of operands that are broadcast to one shape
    Reduce    a monoid over axes
    Window    a monoid over windows: pooling
    Scan      a monoid's running totals along an axis
    Gather    elements picked by integers
    View      the same elements in another order or shape
    Library   any other operator, left to PyTorch

Norms, softmax, logsumexp and losses are Reduce and Map. Shapes are those of the traced workload; what may differ in
another workload is for the emitted text to ask at run time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tuner.drafting.scalars import Scalar

FIELDS: dict[str, tuple[str, ...]] = {
    "sum": ("",),
    "product": ("",),
    "max": ("",),
    "min": ("",),
    "any": ("",),
    "all": ("",),
    "moments": ("mean", "variance", "unbiased"),  # the variance divides by the count, the unbiased one by one less
    "max_sum": ("max", "sum"),  # the sum of exp(x - max)
    "argmax": ("value", "index"),  # the index is int64, whatever the node's dtype
    "argmin": ("value", "index"),
}
"""Monoids of Reduce, and what they result in; "" is a monoid's only result."""

WINDOW_MONOIDS = ("max", "sum", "mean", "mean_valid")
"""Of Window: `mean` divides by the window's size, `mean_valid` by the number of positions that are no padding."""


@dataclass(frozen=True)
class Ref:
    """A result: of the node `node`, its `field` where it has several."""

    node: str
    field: str = ""


@dataclass(frozen=True)
class Node:
    """`name` is an identifier, unique in its graph, the user's own word where there is one (`conv`, `group_norm`).

    `shape` is that of each result, `dtype` as torch calls it. `origin` is the user's module path or "", for messages.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    origin: str = field(default="", kw_only=True)

    @property
    def refs(self) -> tuple[Ref, ...]:
        """What it is computed from."""
        return ()


@dataclass(frozen=True)
class Input(Node):
    """A tensor that forward is called with; `name` is the parameter's own name, `index` its place."""

    index: int


@dataclass(frozen=True)
class Parameter(Node):
    """A parameter or buffer of the model, at the attribute path `path` ("conv.weight")."""

    path: str
    is_buffer: bool = False


@dataclass(frozen=True)
class Constant(Node):
    """A tensor that the model computes from nothing but sizes, or holds as a plain attribute.

    `call` is the text of the Python expression that makes it with torch (`torch.arange(8)`), of no names but torch;
    its dtype is `dtype`, and whoever emits it moves it to the input's device. Its one dimension is as long as that of
    `along`, where there is one.
    """

    call: str
    along: Ref | None = None

    @property
    def is_position(self) -> bool:
        """Whether each element is its own place: nothing that needs to be read."""
        return len(self.shape) == 1 and _POSITIONS.fullmatch(self.call) is not None


_POSITIONS = re.compile(r"torch\.arange\((?:0, )?\d+(?:, dtype=torch\.int(?:32|64))?\)")


@dataclass(frozen=True)
class Product(Node):
    """A product of `x` and `weight`, plus `bias` (one value an output channel or feature) where it has one.

    `kind`: conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, with stride, padding,
    dilation, output_padding (transposed ones) and groups, one number a spatial axis; linear (weight (out, in)); matmul
    (torch.matmul of x and weight, either may be batched); baddbmm and the like are matmul and Map.
    """

    kind: str
    x: Ref
    weight: Ref
    bias: Ref | None = None
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    groups: int = 1

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.x, self.weight, *((self.bias,) if self.bias is not None else ()))

    @property
    def is_convolution(self) -> bool:
        return self.kind.startswith("conv")


@dataclass(frozen=True)
class Map(Node):
    """One value for each element of `shape`: `expression` of the operands, which are broadcast to it (as in PyTorch).

    Operand k is the expression's `Scalar.operand(k)`.
    """

    operands: tuple[Ref, ...]
    expression: Scalar

    @property
    def refs(self) -> tuple[Ref, ...]:
        return self.operands


@dataclass(frozen=True)
class Reduce(Node):
    """`monoid` over `axes` of `operand`, ascending and not negative.

    The reduced axes stay, of size 1: a View that drops them follows where the user's operator does.
    """

    monoid: str
    operand: Ref
    axes: tuple[int, ...]

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Window(Node):
    """Pooling over the last len(kernel) axes of `operand`; padding never wins a maximum and adds nothing to a sum."""

    monoid: str
    operand: Ref
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False
    fixed: bool = False  # whether the kernel is of these very sizes: adaptive pooling

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Scan(Node):
    """Running totals of `monoid` ("sum", "product") along `axis`.

    `reverse` runs from the end; `exclusive` leaves each element's own value out.
    """

    monoid: str
    operand: Ref
    axis: int
    reverse: bool = False
    exclusive: bool = False

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Gather(Node):
    """torch.gather(source, axis, index): shape is the index's."""

    source: Ref
    index: Ref
    axis: int

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.source, self.index)


@dataclass(frozen=True)
class View(Node):
    """The elements of `operand` in another order or shape. `kind` is one of

    reshape   contiguous order kept; shape says all. `batch` says that axis 0 is the batch, whose size may be another.
    permute   `order`: axis k of the result is axis order[k] of the operand
    slice     `starts`, `steps` for each axis; sizes are the shape's
    expand    axes of size 1 repeated to `shape`
    """

    kind: str
    operand: Ref
    order: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    batch: bool = False

    @property
    def refs(self) -> tuple[Ref, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Library(Node):
    """An operator that is left to PyTorch: `operator` is its name under torch.ops.aten, overload included
    ("adaptive_max_pool2d.default").

    `arguments` are its positional ones: Ref, numbers, truth values, texts (one that begins with "torch." is a name of
    torch's), None, or tuples of them; `keywords` those that can only be named. `result` k picks the k-th of several.
    `inner` are the operators that it calls, where it only calls others.
    """

    operator: str
    arguments: tuple[object, ...]
    result: int | None = None
    keywords: tuple[tuple[str, object], ...] = ()
    inner: tuple[str, ...] = ()

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(_refs((self.arguments, self.keywords)))


def _refs(value: object) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _refs(item)


@dataclass(frozen=True)
class Graph:
    """The nodes in order, what forward returns, and the buffers that a forward leaves changed, by path."""

    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    updates: tuple[tuple[str, Ref], ...] = ()

    def __post_init__(self) -> None:
        known: dict[str, Node] = {}
        for node in self.nodes:
            if node.name in known or not node.name.isidentifier():
                raise ValueError(f"{node.name!r} names two nodes, or is no identifier")
            for ref in node.refs:
                _require(ref, known)
            known[node.name] = node
        for ref in (*self.outputs, *(ref for _, ref in self.updates)):
            _require(ref, known)

    def __getitem__(self, ref: Ref | str) -> Node:
        return self._by_name[ref if isinstance(ref, str) else ref.node]

    @property
    def _by_name(self) -> dict[str, Node]:
        found: dict[str, Node] | None = self.__dict__.get("by_name")
        if found is None:
            found = self.__dict__["by_name"] = {node.name: node for node in self.nodes}
        return found

    def uses(self) -> dict[Ref, list[Node]]:
        """The nodes that read each result. What is returned, or kept in a buffer, is not counted."""
        found: dict[Ref, list[Node]] = {}
        for node in self.nodes:
            for ref in dict.fromkeys(node.refs):
                found.setdefault(ref, []).append(node)
        return found


def _require(ref: Ref, known: dict[str, Node]) -> None:
    if ref.node not in known:
        raise ValueError(f"{ref.node!r} is used before it is computed")
    node = known[ref.node]
    fields = FIELDS[node.monoid] if isinstance(node, Reduce) else ("",)
    if ref.field not in fields:
        raise ValueError(f"{ref.node!r} has no result {ref.field!r}; it has {fields}")
