"""Cases of families.py that reduce: rows, columns, groups, everything."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from family_case import Case, size

Tensors = tuple[torch.Tensor, ...]


@functools.cache
def workspace() -> torch.Tensor:
    """Room for partial states, of any case."""
    return torch.empty(32 << 20, dtype=torch.uint8, device="cuda")


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device="cuda")


# ---- rows ----

ROWS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, w, b: x.softmax(1),
    "layer_norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
    "rms_norm": lambda x, w, b: F.rms_norm(x, w.shape, w, 1e-5),
    "logsumexp": lambda x, w, b: x.logsumexp(1),
}


def row_case(operation: str, rows: int, length: int) -> Case:
    writes = operation != "logsumexp"

    def arguments(given: Any, results: Any) -> list[Any]:
        x, weight, bias = given
        places = [results[0], None] if writes else [None, results[0]]
        return [x, None, weight, bias, *places, None, workspace(), 1, rows, length, 1, 1, 1]

    return Case(
        family="row", name=f"{operation} {rows}x{length}", source="rows.cu", module="rows_space",
        inputs=lambda: [drawn(rows, length), drawn(length), drawn(length)], reference=ROWS[operation],
        arguments=arguments, moved=size(rows, length) * (2 if writes else 1), goal=0.90,
        ceiling="copy" if writes else "read", facts={"segments": 1, "rows": rows, "length": length},
        fixed={"OPERATION": operation.upper()}, knob_arguments={"length": length, "kept": writes},
    )  # fmt: skip


# ---- groups: statistics over (channels of a group x positions), or over (samples x positions) ----


def batch_norm(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> Tensors:
    return F.batch_norm(x, None, None, w, b, True), x.mean((0, 2)), x.var((0, 2), correction=0)


def group_case(name: str, samples: int, channels: int, positions: int, groups: int, reads: int = 1) -> Case:
    """GroupNorm (InstanceNorm with a group a channel), or, with no groups, BatchNorm.

    With two reads, what cannot do with less is two reads and a write.
    """
    shape = (samples, channels, positions)
    segments, rows, length = (samples, channels, positions)
    operation = "BATCH_NORM"
    if groups:
        segments, rows, length = 1, samples * groups, channels // groups * positions
        operation = "GROUP_NORM"

    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> Any:
        return F.group_norm(x, groups, w, b) if groups else batch_norm(x, w, b)

    def arguments(given: Any, results: Any) -> list[Any]:
        x, weight, bias = given
        places = [results[0], None, None] if groups else list(results)
        sizes = [groups or 1, channels // (groups or 1), positions]
        return [x, None, weight, bias, *places, workspace(), segments, rows, length, *sizes]

    return Case(
        family="group", name=f"{name} {'x'.join(map(str, shape))} ({groups})", source="rows.cu", module="rows_space",
        inputs=lambda: [drawn(*shape), drawn(channels), drawn(channels)], reference=reference, arguments=arguments,
        moved=size(*shape) * (reads + 1), goal=0.85 if reads > 1 else 0.83,
        facts={"segments": segments, "rows": rows, "length": length},
        fixed={"OPERATION": operation}, knob_arguments={"length": segments * length},
    )  # fmt: skip


# ---- everything to one number ----

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": F.mse_loss,
    "huber": F.smooth_l1_loss,
    "kl": lambda x, y: F.kl_div(x, y, reduction="sum"),
    "frobenius": lambda x: torch.linalg.vector_norm(x),
}


def loss_case(operation: str, count: int) -> Case:
    two = operation != "frobenius"

    def inputs() -> list[torch.Tensor]:
        x = drawn(count)
        if operation == "kl":
            return [x, torch.rand(count, device="cuda")]
        return [x, drawn(count)] if two else [x]

    def arguments(given: Any, results: Any) -> list[Any]:
        other = given[1] if two else None
        return [given[0], other, None, None, None, results[0], None, workspace(), 1, 1, count, 1, 1, 1]

    return Case(
        family="all", name=f"{operation} {count}", source="rows.cu", module="rows_space", inputs=inputs,
        reference=LOSSES[operation], arguments=arguments, moved=size(count) * (2 if two else 1), goal=0.93,
        ceiling="read", facts={"segments": 1, "rows": 1, "length": count}, fixed={"OPERATION": operation.upper()},
        knob_arguments={"length": count, "kept": False},
    )  # fmt: skip


# ---- columns ----

COLUMNS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x, w, b: x.softmax(1),
    "rms_norm": lambda x, w, b: x * (x.square().mean(1, True) + 1e-5).rsqrt(),
    "minimum": lambda x, w, b: x.amin(1),
    "sum": lambda x, w, b: x.sum(1),
    "batch_norm": lambda x, w, b: (F.batch_norm(x[0], None, None, w, b, True)[None], *_statistics(x)),
}


def _statistics(x: torch.Tensor) -> Tensors:
    return x.mean(1), x.var(1, correction=0)


def column_case(operation: str, outer: int, length: int, inner: int, reads: int = 1) -> Case:
    writes = operation not in ("minimum", "sum")
    columns = inner if operation == "batch_norm" else 1  # that have a weight

    def arguments(given: Any, results: Any) -> list[Any]:
        x, weight, bias = given
        places = [None, results[0]] if not writes else list(results)
        return [x, weight, bias, *places, *[None] * (3 - len(places)), workspace(), outer, length, inner]

    return Case(
        family="column", name=f"{operation} {outer}x{length}x{inner}", source="columns.cu", module="columns_space",
        inputs=lambda: [drawn(outer, length, inner), drawn(columns), drawn(columns)], reference=COLUMNS[operation],
        arguments=arguments, moved=size(outer, length, inner) * (reads + 1 if writes else 1), goal=0.85,
        ceiling="copy" if writes else "read", facts={"outer": outer, "length": length, "inner": inner},
        fixed={"OPERATION": operation.upper()}, knob_arguments={"length": length},
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *(
        row_case(operation, rows, length)
        for operation in ROWS
        for rows, length in ((262144, 1024), (32768, 8192), (2048, 131072), (4096, 393216))
    ),
    group_case("group_norm", 128, 64, 126 * 126, 16),
    group_case("group_norm", 32, 64, 256 * 256, 8),
    group_case("layer_norm", 16, 64, 256 * 256, 1, reads=2),
    group_case("instance_norm", 64, 128, 126 * 126, 128),
    group_case("batch_norm", 64, 128, 126 * 126, 0, reads=2),
    group_case("batch_norm", 16, 32, 31 * 63 * 63, 0, reads=2),
    loss_case("mse", 2**30),
    loss_case("huber", 2**30),
    loss_case("kl", 2**30),
    loss_case("frobenius", 2**31),
    column_case("softmax", 128, 128, 129 * 129),
    column_case("softmax", 32, 64, 256 * 256),
    column_case("rms_norm", 112, 64, 512 * 512),
    column_case("minimum", 128, 64, 254 * 254),
    column_case("minimum", 32, 128, 256 * 256),
    column_case("sum", 128, 4096, 4095),
    column_case("batch_norm", 1, 16384, 4096, reads=2),
)
