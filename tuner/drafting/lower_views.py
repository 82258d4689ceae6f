"""Operators that give the same elements in another order or shape, or pick some of them."""

from __future__ import annotations

from tuner.drafting.builder import Full, Value
from tuner.drafting.graph import Constant, Gather, Ref
from tuner.drafting.operation import Lowered, Lowering, Operation
from tuner.drafting.scalars import Scalar

of = Scalar.of


def _reshape(op: Operation) -> Lowered:
    return op.builder.reshape(op.x, op.shape, op.name)


def _permute(op: Operation) -> Lowered:
    rank = op.rank(op.x)
    return op.builder.permute(op.x, tuple(axis % rank for axis in op["dims"]), op.name)


def _transpose(op: Operation) -> Lowered:
    order = list(range(op.rank(op.x)))
    if order:
        a, b = (op[name] % len(order) for name in ("dim0", "dim1"))
        order[a], order[b] = order[b], order[a]
    return op.builder.permute(op.x, tuple(order), op.name)


def _turned(op: Operation) -> Lowered:
    """All axes reversed, or the last two of a matrix's."""
    order = list(range(op.rank(op.x)))
    if op.operator in ("mT", "adjoint"):
        order[-2:] = reversed(order[-2:])
    else:
        order.reverse()
    return op.builder.permute(op.x, tuple(order), op.name)


def _movedim(op: Operation) -> Lowered:
    rank = op.rank(op.x)
    source, target = ([given] if isinstance(given, int) else given for given in (op["source"], op["destination"]))
    placed = {b % rank: a % rank for a, b in zip(source, target, strict=True)}
    others = iter(axis for axis in range(rank) if axis not in placed.values())
    return op.builder.permute(op.x, tuple(placed[k] if k in placed else next(others) for k in range(rank)), op.name)


def _expand(op: Operation) -> Lowered:
    return op.builder.expand(op.x, op.shape, op.name)


def _broadcast_tensors(op: Operation) -> Lowered:
    return tuple(op.builder.expand(x, shape) for x, shape in zip(op["tensors"], op.shapes, strict=True))


def _slice(op: Operation) -> Lowered:
    axis = op["dim"] % op.rank(op.x)
    size = op.shape_of(op.x)[axis]
    start = min(max(_positive(op.get("start", 0), size), 0), size)
    return op.builder.slice(op.x, axis, start, op["step"], op.shape[axis], op.name)


def _positive(position: int, size: int) -> int:
    return position + size if position < 0 else position


def _select(op: Operation) -> Lowered:
    axis = op["dim"] % op.rank(op.x)
    start = _positive(op["index"], op.shape_of(op.x)[axis])
    return op.builder.reshape(op.builder.slice(op.x, axis, start, 1, 1, op.part("slice")), op.shape, op.name)


def _narrow(op: Operation) -> Lowered:
    axis = op["dim"] % op.rank(op.x)
    if not isinstance(op["start"], int):
        return None
    return op.builder.slice(op.x, axis, _positive(op["start"], op.shape_of(op.x)[axis]), 1, op["length"], op.name)


def _split(op: Operation) -> Lowered:
    """Pieces of one axis, of whatever sizes."""
    axis = op["dim"] % op.rank(op.x)
    pieces: list[Value | None] = []
    start = 0
    for shape, used in zip(op.shapes, op.uses, strict=True):
        pieces.append(op.builder.slice(op.x, axis, start, 1, shape[axis], op.name) if used else None)
        start += shape[axis]
    return tuple(pieces)


def _unbind(op: Operation) -> Lowered:
    axis = op["dim"] % op.rank(op.x)
    return tuple(
        op.builder.reshape(op.builder.slice(op.x, axis, k, 1, 1, op.part("slice")), shape, op.name) if used else None
        for k, (shape, used) in enumerate(zip(op.shapes, op.uses, strict=True))
    )


def _gather(op: Operation) -> Lowered:
    source, index = op.builder.ref(op["self"]), op["index"]
    if isinstance(index, Full) or not op.shape:
        return None
    return gathered(op, source, index, op["dim"] % op.rank(source), op.name)


def gathered(op: Operation, source: Ref, index: Ref, axis: int, name: str) -> Ref:
    """torch.gather(source, axis, index)."""
    builder = op.builder
    made = Gather(name, builder.shape(index), builder.dtype(source), source=source, index=index, axis=axis)
    return builder.add(made, builder.is_batched(index) and axis != 0)


def _diagonal_matrix(op: Operation) -> Lowered:
    """The main diagonal from a vector, zeros elsewhere."""
    if op.rank(op.x) != 1 or op.get("diagonal", op.get("offset", 0)) != 0 or op.rank(op.x) == len(op.shape):
        return None
    builder, vector = op.builder, op.builder.ref(op.x)
    (size,) = builder.shape(vector)
    place = Constant("place", (size,), "int64", call=f"torch.arange({size})", along=vector)
    column, row = builder.add(place), builder.reshape(builder.add(place), (size, 1))
    return op.map(lambda i, j, x: of("where", of("eq", i, j), x, 0.0), row, column, vector)


TABLE: dict[str, Lowering] = {
    **{name: _reshape for name in (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel",
        "view_as", "reshape_as", "atleast_1d", "atleast_2d", "atleast_3d",
    )},
    "permute": _permute, "transpose": _transpose, "swapaxes": _transpose, "swapdims": _transpose,
    "t": _turned, "numpy_T": _turned, "mT": _turned, "adjoint": _turned, "movedim": _movedim, "moveaxis": _movedim,
    "expand": _expand, "expand_as": _expand, "broadcast_to": _expand, "broadcast_tensors": _broadcast_tensors,
    "slice": _slice, "select": _select, "narrow": _narrow,
    "split": _split, "split_with_sizes": _split, "chunk": _split, "tensor_split": _split, "unbind": _unbind,
    "gather": _gather, "diag": _diagonal_matrix, "diag_embed": _diagonal_matrix,
}  # fmt: skip
