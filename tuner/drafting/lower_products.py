"""Convolutions and matrix products."""

from __future__ import annotations

from typing import Any

from tuner.drafting.builder import Full, Value
from tuner.drafting.graph import Product, Ref, View
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of


def _numbers(given: Any, count: int) -> tuple[int, ...]:
    several = [given] if isinstance(given, int) else list(given)
    return tuple(several * count) if len(several) == 1 else tuple(several)


def _convolution(op: Operation) -> Lowered:
    builder = op.builder
    x, weight = builder.ref(op["input"]), builder.ref(op["weight"])
    spatial = op.rank(weight) - 2
    stride, dilation = (_numbers(op[name], spatial) for name in ("stride", "dilation"))
    if op.rank(x) != spatial + 2:
        return None
    transposed = bool(op.get("transposed", "transpose" in op.operator))
    padding = _padding(op["padding"], op.shape_of(weight)[2:], dilation)
    if padding is None:
        return None
    made = Product(
        op.name,
        op.shape,
        op.dtype,
        kind=f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d",
        x=x,
        weight=weight,
        bias=None if op.get("bias") is None else builder.ref(op["bias"]),
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=_numbers(op["output_padding"], spatial) if transposed else (),
        groups=op["groups"],
    )
    return builder.add(made, builder.is_batched(x))


def _padding(given: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...] | None:
    """In numbers; None where the two sides of an axis differ."""
    if given == "valid":
        return (0,) * len(kernel)
    if given == "same":
        whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(n // 2 for n in whole) if all(n % 2 == 0 for n in whole) else None
    return _numbers(given, len(kernel))


def _linear(op: Operation) -> Lowered:
    bias = op.get("bias")
    return product(op, "linear", op["input"], op["weight"], op.name, op.shape, bias)


def product(
    op: Operation, kind: str, x: Value, weight: Value, name: str, shape: tuple[int, ...], bias: Value | None = None
) -> Ref:
    """A matrix product; of a matrix that was only transposed by hand it is `linear`."""
    builder = op.builder
    x, weight = builder.ref(x), builder.ref(weight)
    view = builder.nodes[weight.node]
    if kind == "matmul" and isinstance(view, View) and view.kind == "permute" and view.order == (1, 0):
        kind, weight = "linear", view.operand
    made = Product(
        name, shape, op.dtype, kind=kind, x=x, weight=weight, bias=None if bias is None else builder.ref(bias)
    )
    return builder.add(made, builder.is_batched(x) and builder.shape(x)[:1] == shape[:1])


def _matmul(op: Operation) -> Lowered:
    x, y = (v for v in op.arguments.values() if isinstance(v, Ref | Full))
    return product(op, "matmul", x, y, op.name, op.shape)


def _added(first: str, second: str) -> Lowering:
    """A product, times alpha, plus beta times `self`, which is broadcast."""

    def lower(op: Operation) -> Lowered:
        builder, x, y = op.builder, op[first], op[second]
        alpha, beta, added = op.get("alpha", 1), op.get("beta", 1), op["self"]
        columns = op.shape[-1:]
        view = builder.nodes[y.node] if isinstance(y, Ref) else None
        transposed = isinstance(view, View) and view.kind == "permute" and view.order == (1, 0)
        if transposed and alpha == beta == 1 and op.shape_of(added) == columns:
            return product(op, "matmul", x, y, op.name, op.shape, added)
        result: Value = product(op, "matmul", x, y, op.part("product"), op.shape)

        def sum_of(a: Scalar, b: Scalar) -> Scalar:
            a = a if alpha == 1 else of("mul", a, alpha)
            return of("add", a, b if beta == 1 else of("mul", b, beta))

        if beta == 0:
            return op.map(lambda a: a if alpha == 1 else of("mul", a, alpha), result)
        return op.map(sum_of, result, added)

    return lower


def _outer(op: Operation) -> Lowered:
    a, b = op["self"], op["vec2"]
    column = op.builder.reshape(a, (*op.shape_of(a), 1))
    return op.map(lambda x, y: of("mul", x, y), column, b)


TABLE: dict[str, Lowering] = {
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _convolution for n in (1, 2, 3)},
    "convolution": _convolution,
    "linear": _linear,
    "matmul": _matmul, "mm": _matmul, "bmm": _matmul, "mv": _matmul, "dot": _matmul,
    "addmm": _added("mat1", "mat2"), "baddbmm": _added("batch1", "batch2"), "addmv": _added("mat", "vec"),
    "outer": _outer, "ger": _outer,
}  # fmt: skip
