"""Operators that reduce axes, and softmax, which needs two reductions at once."""

from __future__ import annotations

import math

from tuner.drafting.builder import Axes, Value
from tuner.drafting.graph import Ref
from tuner.drafting.lower_maps import power
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of


def _cast(op: Operation, x: Value) -> Value:
    """The operand in the dtype that is asked for, where it is, or in that of a sum of truth values."""
    wanted = op.dtype
    return x if op.dtype_of(x) == wanted else op.map(lambda a: a, x, part="cast", dtype=wanted)


def _reduction(monoid: str, field: str = "") -> Lowering:
    """Of the axes `dim`, all where there are none."""

    def lower(op: Operation) -> Lowered:
        x = op.x if monoid in ("any", "all") else _cast(op, op.x)
        if monoid in ("any", "all") and op.dtype_of(x) != "bool":
            x = op.map(lambda a: of("ne", a, 0.0), x, part="truth", dtype="bool")
        return reduced(op, monoid, x, op.axes(x, op.get("dim")), bool(op.get("keepdim", False)), field)

    return lower


def reduced(op: Operation, monoid: str, x: Value, axes: Axes, keep: bool, field: str = "") -> Value:
    """A reduction as the operator gives it: where it drops its axes, a View of the reduction does."""
    found = op.builder.reduce(op.name, monoid, x, axes, field)
    return op.builder.squeezed(found, axes, keep, op.part("flat"))


def _extreme(monoid: str) -> Lowering:
    """max and min: of all, of two tensors, or along an axis with the index."""

    def lower(op: Operation) -> Lowered:
        if op.overload in ("other", "Tensor"):
            word = "maximum" if monoid == "max" else "minimum"
            return op.map(lambda x, y: of(word, x, y), op["self"], op["other"])
        if op.overload != "dim":
            return reduced(op, monoid, op.x, op.axes(op.x, None), False)
        axes, keep = op.axes(op.x, op["dim"]), bool(op["keepdim"])
        if not op.uses[1]:
            return reduced(op, monoid, op.x, axes, keep), None
        found = op.builder.reduce(op.name, f"arg{monoid}", op.x, axes, "value")
        index = op.builder.field(found, "index")
        values = op.builder.squeezed(found, axes, keep, op.part("flat")) if op.uses[0] else None
        return values, op.builder.squeezed(index, axes, keep, op.part("index"))

    return lower


def _arg(monoid: str) -> Lowering:
    def lower(op: Operation) -> Lowered:
        builder, x, dim = op.builder, op.x, op.get("dim")
        if dim is None:
            flat = builder.reshape(x, [math.prod(op.shape_of(x))], op.part("all"))
            found = builder.reduce(op.name, monoid, flat, (0,), "index")
            return builder.reshape(found, op.shape, op.part("flat"))
        axes, keep = op.axes(x, dim), bool(op["keepdim"])
        found = builder.reduce(op.name, monoid, x, axes, "index")
        return builder.squeezed(found, axes, keep, op.part("flat"))

    return lower


def _variance(root: bool, with_mean: bool = False) -> Lowering:
    def lower(op: Operation) -> Lowered:
        if "names" in op.overload:
            return None
        builder, x = op.builder, op.x
        correction = op.get("correction", 1 if op.get("unbiased", True) else 0)
        field = {0: "variance", 1: "unbiased"}.get(correction)
        if field is None:
            return None
        axes, keep = op.axes(x, op.get("dim")), bool(op.get("keepdim", False))
        found = builder.reduce(op.part("moments") if root else op.name, "moments", x, axes, field)
        value: Value = found
        if root:
            value = op.builder.map(op.name, lambda v: of("sqrt", v), found)
        first = builder.squeezed(value, axes, keep, op.part("flat"))
        if not with_mean:
            return first
        return first, builder.squeezed(builder.field(found, "mean"), axes, keep, op.part("mean_flat"))

    return lower


def _vector_norm(op: Operation) -> Lowered:
    x = _cast(op, op.x)
    order = float(op.get("ord", op.get("p", 2)))
    return norm(op, x, order, op.axes(x, op.get("dim")), bool(op.get("keepdim", False)))


def norm(op: Operation, x: Value, order: float, axes: Axes, keep: bool) -> Value:
    """The root of a sum of powers, or the largest or smallest."""
    builder = op.builder
    if math.isinf(order):
        sizes = op.map(lambda a: of("abs", a), x, part="abs")
        return reduced(op, "max" if order > 0 else "min", sizes, axes, keep)
    if order == 0:
        counted = op.map(lambda a: of("ne", a, 0.0), x, part="counted", dtype=op.dtype_of(x))
        return reduced(op, "sum", counted, axes, keep)
    if order == 1:
        return reduced(op, "sum", op.map(lambda a: of("abs", a), x, part="abs"), axes, keep)
    exponent = Scalar.constant(order)
    powers = op.map(lambda a: power(a if order == 2 else of("abs", a), exponent), x, part="powers")
    total = builder.reduce(op.part("sum"), "sum", powers, axes)
    root = builder.map(op.name, lambda s: power(s, Scalar.constant(1 / order)), total)
    return builder.squeezed(root, axes, keep, op.part("flat"))


def _norm(op: Operation) -> Lowered:
    if op.overload == "nuc":
        return None
    return _vector_norm(op)


def _logsumexp(op: Operation) -> Lowered:
    axes, keep = op.axes(op.x, op.get("dim")), bool(op.get("keepdim", False))
    whole = log_sum(op, op.x, axes, op.name)
    return op.builder.squeezed(whole, axes, keep, op.part("flat"))


def exponentials(op: Operation, x: Value, axes: Axes) -> tuple[Ref, Ref]:
    """The maximum, and the sum of exp(x - maximum)."""
    largest = op.builder.reduce(op.part("sum"), "max_sum", x, axes, "max")
    return largest, op.builder.field(largest, "sum")


def log_sum(op: Operation, x: Value, axes: Axes, name: str) -> Value:
    return op.builder.map(name, lambda m, s: of("log_sum_exp", m, s), *exponentials(op, x, axes))


def _softmax(op: Operation) -> Lowered:
    x = _cast(op, op.x)
    largest, total = exponentials(op, x, op.axes(x, op["dim"]))
    return op.map(lambda a, m, s: of("div", of("exp_less", a, m), s), x, largest, total)


def log_softmax(op: Operation, x: Value, axes: Axes, name: str) -> Value:
    largest, total = exponentials(op, x, axes)
    return op.builder.map(name, lambda a, m, s: of("sub", of("sub", a, m), of("log", s)), x, largest, total)


def _log_softmax(op: Operation) -> Lowered:
    x = _cast(op, op.x)
    return log_softmax(op, x, op.axes(x, op["dim"]), op.name)


TABLE: dict[str, Lowering] = {
    "sum": _reduction("sum"), "mean": _reduction("moments", "mean"), "prod": _reduction("product"),
    "amax": _reduction("max"), "amin": _reduction("min"), "any": _reduction("any"), "all": _reduction("all"),
    "max": _extreme("max"), "min": _extreme("min"), "argmax": _arg("argmax"), "argmin": _arg("argmin"),
    "var": _variance(False), "std": _variance(True), "var_mean": _variance(False, True),
    "std_mean": _variance(True, True),
    "linalg_vector_norm": _vector_norm, "norm": _norm, "frobenius_norm": _vector_norm,
    "logsumexp": _logsumexp, "softmax": _softmax, "_softmax": _softmax, "special_softmax": _softmax,
    "log_softmax": _log_softmax, "_log_softmax": _log_softmax, "special_log_softmax": _log_softmax,
}  # fmt: skip
