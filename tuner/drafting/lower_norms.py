"""Normalisations: moments, and a Map that applies them."""

from __future__ import annotations

from tuner.drafting.builder import Axes, Value
from tuner.drafting.graph import Ref
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of


def normalised(
    op: Operation, name: str, x: Value, mean: Value, variance: Value, weight: Value | None, bias: Value | None
) -> Value:
    """(x - mean) / sqrt(variance + eps) * weight + bias; weight and bias are broadcast to x."""

    def scaled(a: Scalar, m: Scalar, v: Scalar, *affine: Scalar) -> Scalar:
        result = of("mul", of("sub", a, m), of("rsqrt", of("add", v, op["eps"])))
        left = list(affine)
        if weight is not None:
            result = of("mul", result, left.pop(0))
        return of("add", result, left.pop(0)) if bias is not None else result

    given = [v for v in (weight, bias) if v is not None]
    return op.builder.map(name, scaled, x, mean, variance, *given, dtype=op.dtype)


def by_moments(
    op: Operation, name: str, x: Value, axes: Axes, weight: Value | None, bias: Value | None
) -> tuple[Value, Ref]:
    """x normalised by its own moments over `axes`, and the reduction."""
    found = op.builder.reduce(op.part("moments"), "moments", x, axes, "mean")
    variance = op.builder.field(found, "variance")
    return normalised(op, name, x, found, variance, weight, bias), found


def _group_norm(op: Operation) -> Lowered:
    builder, x, shape = op.builder, op.x, op.shape_of(op.x)
    groups = op["num_groups"]
    inner = (shape[0], groups, shape[1] // groups, *shape[2:])
    weight, bias = (
        None
        if op.get(word) is None
        else builder.reshape(
            op[word], (1, groups, shape[1] // groups, *(1 for _ in shape[2:])), op.part(f"{word}_grouped")
        )
        for word in ("weight", "bias")
    )
    grouped = builder.reshape(x, inner, op.part("groups"))
    whole, _ = by_moments(op, op.name, grouped, tuple(range(2, len(inner))), weight, bias)
    return builder.reshape(whole, shape, op.part("channels"))


def _layer_norm(op: Operation) -> Lowered:
    rank = op.rank(op.x)
    axes = tuple(range(rank - len(op["normalized_shape"]), rank))
    return by_moments(op, op.name, op.x, axes, op.get("weight"), op.get("bias"))[0]


def _rms_norm(op: Operation) -> Lowered:
    builder, x, rank = op.builder, op.x, op.rank(op.x)
    # The short dtypes are computed in float32, with its own.
    eps = op.get("eps", 2.0**-52 if op.dtype_of(x) == "float64" else 2.0**-23)
    squares = builder.map(op.part("squares"), lambda a: of("square", a), x)
    axes = tuple(range(rank - len(op["normalized_shape"]), rank))
    mean = builder.reduce(op.part("moments"), "moments", squares, axes, "mean")

    def scaled(a: Scalar, m: Scalar, *weight: Scalar) -> Scalar:
        result = of("mul", a, of("rsqrt", of("add", m, eps)))
        return of("mul", result, weight[0]) if weight else result

    given = [v for v in (op.get("weight"),) if v is not None]
    return op.map(scaled, x, mean, *given)


def _instance_norm(op: Operation) -> Lowered:
    builder, x, rank = op.builder, op.x, op.rank(op.x)
    if op.get("running_mean") is not None:
        return None
    weight, bias = (builder.along(op.get(word), rank, 1, op.part(f"{word}_along")) for word in ("weight", "bias"))
    return by_moments(op, op.name, x, tuple(range(2, rank)), weight, bias)[0]


def _affine(op: Operation) -> list[Value | None]:
    rank = op.rank(op.x)
    return [op.builder.along(op.get(word), rank, 1, op.part(f"{word}_along")) for word in ("weight", "bias")]


def _batch_norm_training(op: Operation) -> Lowered:
    """By the batch's moments; results 3 and 4 are what the running ones become."""
    if not op["training"]:
        return None
    builder, x, rank = op.builder, op.x, op.rank(op.x)
    axes = (0, *range(2, rank))
    weight, bias = _affine(op)
    whole, mean = by_moments(op, op.name, x, axes, weight, bias)
    if len(op.uses) < 5:
        return whole, None, None
    momentum = op["momentum"]

    def moved(old: Scalar, new: Scalar) -> Scalar:
        return of("add", of("mul", old, 1.0 - momentum), of("mul", new, momentum))

    updated: list[Value | None] = []
    for number, word, field in ((3, "running_mean", "mean"), (4, "running_var", "unbiased")):
        if not op.uses[number]:
            updated.append(None)
            continue
        new = builder.reshape(builder.field(mean, field), op.shapes[number], op.part(f"batch_{field}"))
        updated.append(builder.map(op.part(word.replace("running", "new")), moved, op[word], new))
    return whole, None, None, *updated


def _batch_norm_evaluation(op: Operation) -> Lowered:
    if op.operator == "batch_norm" and op["training"]:
        return None
    rank = op.rank(op.x)
    mean, variance = (
        op.builder.along(op[word], rank, 1, op.part(f"{word}_along")) for word in ("running_mean", "running_var")
    )
    assert mean is not None and variance is not None
    weight, bias = _affine(op)
    whole = normalised(op, op.name, op.x, mean, variance, weight, bias)
    return whole if op.operator == "batch_norm" else (whole, *(None for _ in op.uses[1:]))


def _native_layer_norm(op: Operation) -> Lowered:
    """Results 1 and 2, which the backward pass wants, are left out."""
    return None if any(op.uses[1:]) else (_layer_norm(op), None, None)  # type: ignore[return-value]


TABLE: dict[str, Lowering] = {
    "group_norm": _group_norm, "layer_norm": _layer_norm, "native_layer_norm": _native_layer_norm,
    "rms_norm": _rms_norm, "instance_norm": _instance_norm, "batch_norm": _batch_norm_evaluation,
    "_native_batch_norm_legit_functional": _batch_norm_training, "_native_batch_norm_legit": _batch_norm_training,
    "_native_batch_norm_legit_no_training": _batch_norm_evaluation,
}  # fmt: skip
