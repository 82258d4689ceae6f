"""Losses: a Map of the elements and a reduction."""

from __future__ import annotations

from collections.abc import Callable

from tuner.drafting.builder import Value
from tuner.drafting.graph import Reduce, Ref, View
from tuner.drafting.lower_reductions import exponentials, log_softmax
from tuner.drafting.lower_views import gathered
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of
NONE, MEAN, SUM = 0, 1, 2  # aten's reductions


def _loss(function: Callable[[Operation], Callable[..., Scalar]], *words: str) -> Lowering:
    """`function(op)` of the tensors `words`, reduced as `reduction` says."""

    def lower(op: Operation) -> Lowered:
        if op.get("weight") is not None or op.get("pos_weight") is not None:
            return None
        each = op.map(function(op), *(op[word] for word in words), part="each")
        return _total(op, each)

    return lower


def _total(op: Operation, each: Value) -> Value:
    """What the operator makes of the loss of each element."""
    how = op.get("reduction", MEAN)
    if how == NONE:
        return each
    axes = op.axes(each, None)
    monoid, field = ("moments", "mean") if how == MEAN else ("sum", "")
    found = op.builder.reduce(op.name, monoid, each, axes, field)
    return op.builder.reshape(found, (), op.part("flat"))


def _squared(op: Operation) -> Callable[..., Scalar]:
    return lambda x, y: of("square", of("sub", x, y))


def _absolute(op: Operation) -> Callable[..., Scalar]:
    return lambda x, y: of("abs", of("sub", x, y))


def _smooth(op: Operation) -> Callable[..., Scalar]:
    beta = op["beta"]

    def loss(x: Scalar, y: Scalar) -> Scalar:
        size = of("abs", of("sub", x, y))
        if beta == 0:
            return size
        inside = of("mul", of("square", size), 0.5 / beta)
        return of("where", of("lt", size, beta), inside, of("sub", size, 0.5 * beta))

    return loss


def _huber(op: Operation) -> Callable[..., Scalar]:
    delta = op["delta"]

    def loss(x: Scalar, y: Scalar) -> Scalar:
        size = of("abs", of("sub", x, y))
        inside = of("mul", of("square", size), 0.5)
        return of("where", of("le", size, delta), inside, of("mul", of("sub", size, 0.5 * delta), delta))

    return loss


def _kl_div(op: Operation) -> Callable[..., Scalar]:
    def loss(x: Scalar, t: Scalar) -> Scalar:
        if op.get("log_target", False):
            return of("mul", of("exp", t), of("sub", t, x))
        own = of("where", of("eq", t, 0.0), 0.0, of("mul", t, of("log", t)))
        return of("sub", own, of("mul", t, x))

    return loss


def _cross_entropy_of_two(op: Operation) -> Callable[..., Scalar]:
    def loss(x: Scalar, t: Scalar) -> Scalar:
        yes = of("mul", t, of("maximum", of("log", x), -100.0))
        no = of("mul", of("sub", 1.0, t), of("maximum", of("log1p", of("neg", x)), -100.0))
        return of("neg", of("add", yes, no))

    return loss


def _cross_entropy_of_logits(op: Operation) -> Callable[..., Scalar]:
    return lambda x, t: of("sub", of("mul", of("sub", 1.0, t), x), of("log_sigmoid", x))


def _soft_margin(op: Operation) -> Callable[..., Scalar]:
    return lambda x, y: of("log1p", of("exp", of("mul", of("neg", y), x)))


def _cross_entropy(op: Operation) -> Lowered:
    """Of classes by number, or by probabilities."""
    builder, x, target = op.builder, op.x, op["target"]
    axis = 0 if op.rank(x) == 1 else 1
    if op.get("weight") is not None or op.get("label_smoothing", 0.0) != 0 or not isinstance(target, Ref):
        return None
    if op.shape_of(target) == op.shape_of(x):
        likely = log_softmax(op, x, (axis,), op.part("log_softmax"))
        terms = builder.map(op.part("terms"), lambda p, t: of("mul", of("neg", p), t), likely, target)
        each = builder.squeezed(builder.reduce(op.part("each"), "sum", terms, (axis,)), (axis,), False, op.part("rows"))
        return _total(op, each)
    if not isinstance(x, Ref):
        return None
    largest, total = exponentials(op, x, (axis,))
    picked, own = _picked(op, x, target, axis)

    def loss(p: Scalar, t: Scalar, m: Scalar, s: Scalar) -> Scalar:
        likely = of("sub", of("sub", p, m), of("log", s))  # as log_softmax has it: NaN where a class is infinite
        return of("where", of("eq", t, op["ignore_index"]), 0.0, of("neg", likely))

    return _over_classes(op, builder.map(op.part("each"), loss, picked, own, largest, total), own, axis)


def _nll_loss(op: Operation) -> Lowered:
    builder, x, target = op.builder, op.x, op["target"]
    axis = 0 if op.rank(x) == 1 else 1
    if op.get("weight") is not None or not isinstance(target, Ref) or not isinstance(x, Ref):
        return None
    picked, own = _picked(op, x, target, axis)

    def loss(p: Scalar, t: Scalar) -> Scalar:
        return of("where", of("eq", t, op["ignore_index"]), 0.0, of("neg", p))

    result = _over_classes(op, builder.map(op.part("each"), loss, picked, own), own, axis)
    return result if len(op.shapes) == 1 else (result, *(None for _ in op.shapes[1:]))


def _picked(op: Operation, x: Ref, target: Ref, axis: int) -> tuple[Value, Value]:
    """The element of each row that its target names (class 0 where that is ignored), and the targets, as columns."""
    builder, shape = op.builder, list(op.shape_of(target))
    own = builder.reshape(target, [*shape[:axis], 1, *shape[axis:]], op.part("target"))
    ignored = op["ignore_index"]
    index = builder.map(op.part("class"), lambda t: of("where", of("eq", t, ignored), 0.0, t), own)
    return gathered(op, x, builder.ref(index), axis, op.part("picked")), own


def _over_classes(op: Operation, each: Value, own: Value, axis: int) -> Value:
    """The mean over the targets that are not ignored, the sum, or each."""
    builder, how = op.builder, op.get("reduction", MEAN)
    if how == NONE:
        return builder.squeezed(each, (axis,), False, op.part("flat"))
    axes = op.axes(each, None)
    total: Value = builder.reduce(op.part("total"), "sum", each, axes)
    if how == MEAN:
        ignored = op["ignore_index"]
        counted = builder.map(op.part("counted"), lambda t: of("ne", t, ignored), own, dtype=op.dtype)
        count = builder.reduce(op.part("count"), "sum", counted, axes)
        total = builder.map(op.name, lambda a, n: of("div", a, n), total, count)
    return builder.reshape(total, (), op.part("flat"))


def batch_mean(op: Operation) -> Value | None:
    """The sum of kl_div over the number of samples, which stands in the program as a number: the samples' mean."""
    if op.operator != "div" or not isinstance(op["self"], Ref) or not isinstance(op["other"], int):
        return None
    builder, view = op.builder, op.builder.nodes[op["self"].node]
    found = builder.nodes[view.operand.node] if isinstance(view, View) else view
    if not isinstance(found, Reduce) or found.monoid != "sum" or not found.name.startswith("kl_div"):
        return None
    if op["other"] != builder.shape(found.operand)[0] or found.axes[0] != 0:
        return None
    rows = builder.reduce("kl_div_rows", "sum", found.operand, found.axes[1:])
    return builder.reshape(builder.reduce("kl_div", "moments", rows, (0,), "mean"), (), "kl_div_flat")


TABLE: dict[str, Lowering] = {
    "mse_loss": _loss(_squared, "self", "target"), "l1_loss": _loss(_absolute, "self", "target"),
    "smooth_l1_loss": _loss(_smooth, "self", "target"), "huber_loss": _loss(_huber, "self", "target"),
    "kl_div": _loss(_kl_div, "self", "target"), "soft_margin_loss": _loss(_soft_margin, "self", "target"),
    "binary_cross_entropy": _loss(_cross_entropy_of_two, "self", "target"),
    "binary_cross_entropy_with_logits": _loss(_cross_entropy_of_logits, "self", "target"),
    "cross_entropy_loss": _cross_entropy, "nll_loss": _nll_loss, "nll_loss_nd": _nll_loss, "nll_loss2d": _nll_loss,
    "nll_loss_forward": _nll_loss, "nll_loss2d_forward": _nll_loss,
}  # fmt: skip
