"""Pooling and running totals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tuner.drafting.builder import Axes, Full, Value
from tuner.drafting.graph import Ref, Scan, View, Window
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of


def _numbers(given: Any, count: int) -> Axes:
    several = [given] if isinstance(given, int) else list(given)
    return tuple(several * count) if len(several) == 1 else tuple(several)


def _spatial(op: Operation) -> int:
    return next(n for n in (1, 2, 3) if f"{n}d" in op.operator)


def _max_pool(op: Operation) -> Lowered:
    """With the indices nobody reads: values alone."""
    if any(op.uses[1:]):
        return None
    found = _window(op, "max", _numbers(op["dilation"], _spatial(op)))
    return found if len(op.shapes) == 1 else (found, None)


def _avg_pool(op: Operation) -> Lowered:
    count = _spatial(op)
    divisor = op.get("divisor_override")
    padded, counted = any(_numbers(op["padding"], count)), op["count_include_pad"]
    if op["ceil_mode"] and padded and counted and not divisor:
        return None  # windows beyond the end, of these or other sizes, have divisors of their own
    plain = not op["ceil_mode"] and (counted or not padded)
    monoid = "sum" if divisor else "mean" if plain else "mean_valid"
    found = _window(op, monoid, (1,) * count, op.part("sum") if divisor else op.name)
    return op.map(lambda x: of("div", x, divisor), found) if divisor else found


def _window(op: Operation, monoid: str, dilation: Axes, name: str = "") -> Value:
    builder, x, count = op.builder, op.builder.ref(op.x), _spatial(op)
    kernel = _numbers(op["kernel_size"], count)
    made = Window(
        name or op.name, op.shape, op.dtype, monoid=monoid, operand=x, kernel=kernel,
        stride=_numbers(op.get("stride") or kernel, count), padding=_numbers(op["padding"], count),
        dilation=dilation, ceil_mode=bool(op["ceil_mode"]),
    )  # fmt: skip
    return builder.add(made, builder.is_batched(x) and op.rank(x) > count)


def _adaptive(monoid: str) -> Lowering:
    """To one position: a reduction. To a divisor of the size: windows side by side."""

    def lower(op: Operation) -> Lowered:
        count, builder, x = _spatial(op), op.builder, op.x
        if any(op.uses[1:]):
            return None
        sizes, wanted = op.shape_of(x)[-count:], op.shape[-count:]
        if all(n == 1 for n in wanted):
            axes = tuple(range(op.rank(x) - count, op.rank(x)))
            field = "mean" if monoid == "moments" else ""
            found: Value = builder.reduce(op.name, monoid, x, axes, field)
        elif all(n % w == 0 for n, w in zip(sizes, wanted, strict=True)):
            kernel = tuple(n // w for n, w in zip(sizes, wanted, strict=True))
            kind = "mean" if monoid == "moments" else "max"
            made = Window(
                op.name, op.shape, op.dtype, monoid=kind, operand=builder.ref(x), kernel=kernel, stride=kernel,
                padding=(0,) * count, dilation=(1,) * count, fixed=True,
            )  # fmt: skip
            found = builder.add(made, builder.is_batched(x) and op.rank(x) > count)
        else:
            return None
        return found if len(op.shapes) == 1 else (found, None)

    return lower


def _scan(monoid: str) -> Lowering:
    def lower(op: Operation) -> Lowered:
        builder, x = op.builder, op.x
        if op.rank(x) == 0:
            return x
        axis = op["dim"] % op.rank(x)
        if op.dtype_of(x) != op.dtype:
            x = op.map(lambda a: a, x, part="cast", dtype=op.dtype)
        made = Scan(op.name, op.shape, op.dtype, monoid=monoid, operand=builder.ref(x), axis=axis)
        return builder.add(made, builder.is_batched(x) and axis != 0)

    return lower


def _cat(op: Operation) -> Lowered:
    """Running totals of all but the last, behind what they begin with: they leave each element's own value out."""
    builder = op.builder
    if len(op["tensors"]) != 2 or not isinstance(op["tensors"][0], Full) or not isinstance(op["tensors"][1], Ref):
        return None
    first, totals = op["tensors"]
    scan = builder.nodes[totals.node]
    if not isinstance(scan, Scan) or scan.reverse or scan.exclusive or scan.axis != op["dim"] % op.rank(totals):
        return None
    view = builder.nodes[scan.operand.node]
    whole = isinstance(view, View) and view.kind == "slice" and builder.shape(view.operand) == op.shape
    if not isinstance(view, View) or not whole or any(view.starts) or any(step != 1 for step in view.steps):
        return None
    if first.number != (0 if scan.monoid == "sum" else 1) or op.shape_of(first)[scan.axis] != 1:
        return None
    made = replace(scan, name=f"exclusive_{scan.name}", shape=op.shape, operand=view.operand, exclusive=True)
    return builder.add(made, builder.is_batched(view.operand) and scan.axis != 0)


TABLE: dict[str, Lowering] = {
    **{f"max_pool{n}d": _max_pool for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool for n in (1, 2, 3)},
    **{f"avg_pool{n}d": _avg_pool for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("moments") for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive("moments") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("max") for n in (1, 2, 3)},
    "cat": _cat,
    "cumsum": _scan("sum"), "cumprod": _scan("product"),
}  # fmt: skip
