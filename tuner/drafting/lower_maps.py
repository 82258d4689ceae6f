"""Operators that compute each element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

from tuner.drafting.builder import Full, Value
from tuner.drafting.graph import Ref
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _same(name: str) -> Lowering:
    """A function of the first tensor that has aten's name."""
    return lambda op: op.map(lambda x: of(name, x), op.x)


def _unary(function: Callable[[Scalar], Scalar]) -> Lowering:
    return lambda op: op.map(function, op.x)


def _binary(name: str) -> Lowering:
    """A function of `self` and `other`, either of which may be a number."""
    return lambda op: op.map(lambda x, y: of(name, x, y), op["self"], op["other"])


def _scaled(x: Scalar, factor: Scalar) -> Scalar:
    if factor.name == "constant" and factor.number == 1:
        return x
    if x.name == "constant" and factor.name == "constant":
        return Scalar.constant(x.number * factor.number)
    return of("mul", x, factor)


def _add(op: Operation) -> Lowered:
    if op.dtype == "bool":
        return op.map(lambda x, y: of("logical_or", x, y), op["self"], op["other"])
    alpha = op.get("alpha", 1)
    return op.map(lambda x, y: _plus(x, _scaled(y, Scalar.constant(alpha))), op["self"], op["other"])


def _plus(x: Scalar, y: Scalar) -> Scalar:
    if y.name == "constant" and y.number == 0:
        return x
    if x.name == "constant" and x.number == 0:
        return y
    return of("add", x, y)


def _sub(op: Operation) -> Lowered:
    alpha = op.get("alpha", 1)
    return op.map(lambda x, y: _minus(x, _scaled(y, Scalar.constant(alpha))), op["self"], op["other"])


def _minus(x: Scalar, y: Scalar) -> Scalar:
    return x if y.name == "constant" and y.number == 0 else of("sub", x, y)


def _rsub(op: Operation) -> Lowered:
    alpha = op.get("alpha", 1)
    return op.map(lambda x, y: of("sub", y, _scaled(x, Scalar.constant(alpha))), op["self"], op["other"])


def _mul(op: Operation) -> Lowered:
    def product(x: Scalar, y: Scalar) -> Scalar:
        return y if x.name == "constant" and x.number == 1 else _scaled(x, y)

    if op.dtype == "bool":
        return op.map(lambda x, y: of("logical_and", x, y), op["self"], op["other"])
    return op.map(product, op["self"], op["other"])


def _div(op: Operation) -> Lowered:
    rounding = {None: "", "floor": "floor", "trunc": "trunc"}[op.get("rounding_mode")]

    def quotient(x: Scalar, y: Scalar) -> Scalar:
        if y.name == "constant" and y.number == 1 and not rounding:
            return x
        return of(rounding, of("div", x, y)) if rounding else of("div", x, y)

    return op.map(quotient, op["self"], op["other"])


def _remainder(op: Operation) -> Lowered:
    def left(x: Scalar, y: Scalar) -> Scalar:
        return of("sub", x, of("mul", of("floor", of("div", x, y)), y))

    return op.map(left, op["self"], op["other"])


def power(x: Scalar, exponent: Scalar) -> Scalar:
    """x to a power, by the plain function where the exponent is a number that has one."""
    if exponent.name == "constant" and x.name != "constant":
        plain: dict[float, Callable[[], Scalar]] = {
            1.0: lambda: x,
            2.0: lambda: of("square", x),
            3.0: lambda: of("mul", of("square", x), x),
            0.5: lambda: of("sqrt", x),
            -0.5: lambda: of("rsqrt", x),
            -1.0: lambda: of("reciprocal", x),
        }
        if exponent.number in plain:
            return plain[exponent.number]()
    return of("pow", x, exponent)


def _clamp(op: Operation) -> Lowered:
    low, high = (op.get(name) for name in ("min", "max"))
    if low is not None and high is not None and not isinstance(low, Ref) and not isinstance(high, Ref):
        return op.map(lambda x, a, b: of("clamp", x, a, b), op["self"], low, high)
    value: Value = op["self"]
    if low is not None:
        value = op.map(lambda x, a: of("maximum", x, a), value, low)
    if high is not None:
        value = op.map(lambda x, b: of("minimum", x, b), value, high)
    return value


def _leaky_relu(op: Operation) -> Lowered:
    return op.map(lambda x: of("leaky_relu", x, op["negative_slope"]), op["self"])


def _prelu(op: Operation) -> Lowered:
    x, weight = op["self"], op["weight"]
    if math.prod(op.shape_of(weight)) == 1:
        weight = op.builder.reshape(weight, (1,) * op.rank(x))
    else:
        weight = op.builder.along(weight, op.rank(x), 1 if op.rank(x) > 1 else 0)
    return op.map(lambda a, w: of("where", of("gt", a, 0.0), a, of("mul", w, a)), x, weight)


def _elu(op: Operation) -> Lowered:
    alpha, scale, inner = (op.get(name, 1.0) for name in ("alpha", "scale", "input_scale"))
    return op.map(lambda x: of("elu", x, alpha, scale, inner), op["self"])


def _celu(op: Operation) -> Lowered:
    alpha = op["alpha"]
    return op.map(lambda x: of("elu", x, alpha, 1.0, 1.0 / alpha), op["self"])


def _gelu(op: Operation) -> Lowered:
    return op.map(lambda x: of("gelu_tanh" if op.get("approximate") == "tanh" else "gelu", x), op["self"])


def _softplus(op: Operation) -> Lowered:
    return op.map(lambda x: of("softplus", x, op["beta"], op["threshold"]), op["self"])


def _threshold(op: Operation) -> Lowered:
    return op.map(lambda x: of("where", of("le", x, op["threshold"]), op["value"], x), op["self"])


def _hardshrink(op: Operation) -> Lowered:
    return op.map(lambda x: of("where", of("le", of("abs", x), op["lambd"]), 0.0, x), op["self"])


def _softshrink(op: Operation) -> Lowered:
    lambd = op["lambd"]

    def shrunk(x: Scalar) -> Scalar:
        return of(
            "where",
            of("gt", x, lambd),
            of("sub", x, lambd),
            of("where", of("lt", x, -lambd), of("add", x, lambd), of("mul", x, 0.0)),
        )

    return op.map(shrunk, op["self"])


def _glu(op: Operation) -> Lowered:
    axis = op["dim"] % op.rank(op.x)
    half = op.shape_of(op.x)[axis] // 2
    first, second = (
        op.builder.slice(op.x, axis, start, 1, half, op.part(word)) for start, word in ((0, "value"), (half, "gate"))
    )
    return op.map(lambda a, b: of("mul", a, of("sigmoid", b)), first, second)


def _where(op: Operation) -> Lowered:
    return op.map(lambda c, x, y: of("where", c, x, y), op["condition"], op["self"], op["other"])


def _masked_fill(op: Operation) -> Lowered:
    return op.map(lambda x, m, v: of("where", m, v, x), op["self"], op["mask"], op["value"])


def _bitwise(name: str) -> Lowering:
    """Of truth values; of integers they are left to PyTorch."""

    def lower(op: Operation) -> Lowered:
        return None if op.dtype != "bool" else _binary(name)(op)

    return lower


def _bitwise_not(op: Operation) -> Lowered:
    return None if op.dtype != "bool" else _same("logical_not")(op)


def _addcmul(op: Operation) -> Lowered:
    value = Scalar.constant(op.get("value", 1))
    return op.map(
        lambda x, a, b: of("add", x, _scaled(of("mul", a, b), value)), op["self"], op["tensor1"], op["tensor2"]
    )


def _addcdiv(op: Operation) -> Lowered:
    value = Scalar.constant(op.get("value", 1))
    return op.map(
        lambda x, a, b: of("add", x, _scaled(of("div", a, b), value)), op["self"], op["tensor1"], op["tensor2"]
    )


def _lerp(op: Operation) -> Lowered:
    return op.map(lambda x, y, w: of("add", x, of("mul", w, of("sub", y, x))), op["self"], op["end"], op["weight"])


def _logit(op: Operation) -> Lowered:
    if op.get("eps") is not None:
        return None
    return op.map(lambda x: of("log", of("div", x, of("sub", 1.0, x))), op["self"])


def _cast(op: Operation) -> Lowered:
    """Another dtype; an integer from a number is cut."""
    x = op.x
    if op.dtype_of(x) == op.dtype:
        return x
    if op.dtype == "bool":
        return op.map(lambda a: of("ne", a, 0.0), x)
    if "int" in op.dtype and "int" not in op.dtype_of(x) and op.dtype_of(x) != "bool":
        return op.map(lambda a: of("trunc", a), x)
    return op.map(lambda a: a, x)


def _identity(op: Operation) -> Lowered:
    return op.x


def _dropout(op: Operation) -> Lowered:
    """In evaluation mode, or of nothing; live dropout is refused before."""
    if op.get("p", 0.0) == 1 and op.get("train"):
        return Full(0.0, op.shape, op.dtype)
    return op.x


def _full(op: Operation) -> Lowered:
    number = op.get("fill_value", op.get("s", op.get("value")))
    if isinstance(number, Ref):
        return None
    return Full(float(number.number if isinstance(number, Full) else number), op.shape, op.dtype)


def _filled(number: float) -> Lowering:
    return lambda op: Full(number, op.shape, op.dtype)


FILLS: dict[str, Lowering] = {
    "full": _full, "full_like": _full, "new_full": _full, "scalar_tensor": _full, "fill": _full,
    **{name: _filled(0.0) for name in ("zeros", "zeros_like", "new_zeros", "zero")},
    **{name: _filled(1.0) for name in ("ones", "ones_like", "new_ones")},
}  # fmt: skip
"""Tensors of one number."""

TABLE: dict[str, Lowering] = {
    **{name: _same(name) for name in (
        "neg", "abs", "square", "reciprocal", "floor", "ceil", "trunc", "sign", "exp", "expm1", "log", "log1p", "log2",
        "exp2", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh", "sinh", "cosh", "erf", "atan", "relu", "sigmoid", "silu",
        "mish", "log_sigmoid", "hardswish", "hardsigmoid", "logical_not", "isnan", "isinf",
    )},
    **{name: _binary(name) for name in (
        "maximum", "minimum", "fmod", "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or",
    )},
    "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "div": _div, "remainder": _remainder,
    "true_divide": _div, "multiply": _mul, "subtract": _sub, "divide": _div,
    "floor_divide": lambda op: op.map(lambda x, y: of("floor", of("div", x, y)), op["self"], op["other"]),
    "pow": lambda op: op.map(power, op["self"], op["exponent"]),
    "round": lambda op: op.map(lambda x: of("round", x), op.x) if op.overload == "default" else None,
    "sgn": _same("sign"), "negative": _same("neg"), "absolute": _same("abs"),
    "log10": _unary(lambda x: of("div", of("log", x), math.log(10.0))),
    "erfc": _unary(lambda x: of("sub", 1.0, of("erf", x))),
    "clamp": _clamp, "clamp_min": _clamp, "clamp_max": _clamp,
    "hardtanh": lambda op: op.map(lambda x: of("clamp", x, op["min_val"], op["max_val"]), op["self"]),
    "relu6": _unary(lambda x: of("clamp", x, 0.0, 6.0)),
    "leaky_relu": _leaky_relu, "prelu": _prelu, "_prelu_kernel": _prelu, "elu": _elu, "celu": _celu,
    "selu": _unary(lambda x: of("elu", x, SELU_ALPHA, SELU_SCALE, 1.0)),
    "gelu": _gelu, "softplus": _softplus, "threshold": _threshold, "hardshrink": _hardshrink,
    "softshrink": _softshrink, "glu": _glu,
    "where": _where, "masked_fill": _masked_fill,
    "bitwise_and": _bitwise("logical_and"), "bitwise_or": _bitwise("logical_or"), "bitwise_xor": _bitwise("ne"),
    "bitwise_not": _bitwise_not, "logical_xor": _binary("ne"),
    "addcmul": _addcmul, "addcdiv": _addcdiv, "lerp": _lerp, "logit": _logit,
    "_to_copy": _cast, "to": _cast, "type_as": _cast,
    **{name: _identity for name in (
        "alias", "detach", "clone", "contiguous", "lift_fresh_copy", "lift_fresh", "lift", "positive", "identity",
    )},
    "dropout": _dropout, "feature_dropout": _dropout, "alpha_dropout": _dropout, "feature_alpha_dropout": _dropout,
    **FILLS,
}  # fmt: skip
