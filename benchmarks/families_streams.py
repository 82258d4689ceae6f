"""Cases of families.py that move every element once: maps, windows, layouts turned over, scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from family_case import Case, size

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
C_TYPES = {"float32": "float", "float16": "half", "bfloat16": "bfloat16"}
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}


def drawn(*shape: int, dtype: str = "float32") -> torch.Tensor:
    return torch.randn(shape, device="cuda", dtype=DTYPES[dtype])


def bias_residual_gelu(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.gelu(x + bias[:, None]) + residual


MAPS: dict[str, Callable[..., torch.Tensor]] = {
    "sigmoid": torch.sigmoid,
    "swish": lambda x: x * torch.sigmoid(x),
    "bias_residual_gelu": bias_residual_gelu,
}


def map_case(operation: str, samples: int, channels: int, positions: int, dtype: str = "float32") -> Case:
    """A map of (samples, channels, positions)."""
    shape = (samples, channels, positions)
    fused = operation == "bias_residual_gelu"

    def inputs() -> list[torch.Tensor]:
        x = [drawn(*shape, dtype=dtype) for _ in range(2 if fused else 1)]
        return [*x, drawn(channels, dtype=dtype)] if fused else x

    def arguments(given: Any, results: Any) -> list[Any]:
        residual, bias = (given[1], given[2]) if fused else (None, None)
        return [given[0], residual, bias, results[0], samples * channels, positions, channels]

    width = DTYPES[dtype].itemsize
    return Case(
        family="map", name=f"{operation} {'x'.join(map(str, shape))} {dtype}", source="map.cu", module="map_space",
        inputs=inputs, reference=MAPS[operation], arguments=arguments,
        moved=size(*shape, bytes_each=width) * (3 if fused else 2), goal=0.93,
        facts={"rows": samples * channels, "length": positions, "elementsize": width},
        fixed={"OPERATION": operation.upper(), "TUNER_DTYPE": C_TYPES[dtype]}, tolerance=TOLERANCES[dtype],
    )  # fmt: skip


def turned_case(samples: int, channels: int, positions: int, dtype: str = "float32") -> Case:
    """A map of (samples, positions, channels) whose result is (samples, channels, positions)."""

    def inputs() -> list[torch.Tensor]:
        return [drawn(samples, positions, channels, dtype=dtype), drawn(channels, dtype=dtype)]

    def reference(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.silu(x + bias).transpose(1, 2).contiguous()

    width = DTYPES[dtype].itemsize
    return Case(
        family="turned", name=f"swish {samples}x{channels}x{positions} {dtype}", source="turned.cu",
        module="turned_space", inputs=inputs, reference=reference,
        arguments=lambda given, results: [*given, results[0], samples, channels, positions],
        moved=2 * size(samples, channels, positions, bytes_each=width), goal=0.85,
        facts={"channels": channels, "positions": positions, "elementsize": width},
        fixed={"TUNER_DTYPE": C_TYPES[dtype]}, tolerance=TOLERANCES[dtype],
    )  # fmt: skip


def turn_in_case(samples: int, channels: int, positions: int) -> Case:
    """(samples, channels, positions) copied to (samples, positions, channels)."""
    return Case(
        family="turned", name=f"in {samples}x{channels}x{positions}", source="turned.cu", module="turned_space",
        inputs=lambda: [drawn(samples, channels, positions)], reference=lambda x: x.transpose(1, 2).contiguous(),
        arguments=lambda given, results: [given[0], None, results[0], samples, channels, positions],
        moved=2 * size(samples, channels, positions), goal=0.85, fixed={"TURN_IN": 1},
        facts={"channels": positions, "positions": channels},
    )  # fmt: skip


POOLS: dict[str, tuple[Callable[..., torch.Tensor], ...]] = {
    "max": (F.max_pool1d, F.max_pool2d, F.max_pool3d),
    "mean": (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
}


def window_case(
    pool: str, rows: int, plane: tuple[int, ...], kernel: int, stride: int, padding: int = 0, dilation: int = 1,
    dtype: str = "float32",
) -> Case:  # fmt: skip
    """Pooling of `rows` planes by windows of one size along all axes."""
    axes = len(plane)
    out = [(n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for n in plane]
    ones = (1,) * (3 - axes)
    spread: dict[str, Any] = {"dilation": dilation} if pool == "max" else {}
    whole = {"kernel": kernel, "stride": stride, "dilation": dilation}
    shapes = {name: (*ones, *(value,) * axes) for name, value in whole.items()}
    macros = {name.upper(): ", ".join(map(str, shape)) for name, shape in shapes.items()}
    macros["PADDING"] = ", ".join(map(str, (*(0,) * (3 - axes), *(padding,) * axes)))

    def reference(x: torch.Tensor) -> torch.Tensor:
        return POOLS[pool][axes - 1](x, kernel, stride, padding, **spread)

    width = DTYPES[dtype].itemsize
    name = f"{pool} {kernel}/{stride}" + f" p{padding}" * (padding > 0) + f" d{dilation}" * (dilation > 1)
    return Case(
        family="windows", name=f"{name} {rows}x{'x'.join(map(str, plane))} {dtype}", source="windows.cu",
        module="windows_space", inputs=lambda: [drawn(1, rows, *plane, dtype=dtype)], reference=reference,
        arguments=lambda given, results: [given[0], results[0], rows, *ones, *plane, *ones, *out],
        moved=size(rows, *plane, bytes_each=width) + size(rows, *out, bytes_each=width), goal=0.80,
        facts={
            "width": plane[-1], "out_height": [1, 1, *out][-2], "out_depth": [1, 1, *out][-3], "elementsize": width,
        },
        fixed={**macros, "POOL": pool, "TUNER_DTYPE": C_TYPES[dtype]}, knob_arguments=shapes,
        tolerance=TOLERANCES[dtype],
    )  # fmt: skip


def scan_case(kind: str, outer: int, length: int, inner: int = 1) -> Case:
    """A scan of (outer, length, inner) along the length. The error of float sums of 32768 is itself near 1e-5."""
    references: dict[str, Callable[..., torch.Tensor]] = {
        "cumsum": lambda x: x.cumsum(1),
        "cumprod": lambda x: x.cumprod(1),
        "masked": lambda x, mask: (x * mask).cumsum(1),
        "reverse": lambda x: x.flip(1).cumsum(1).flip(1),
        "exclusive": lambda x: torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1).cumsum(1),
    }

    def inputs() -> list[torch.Tensor]:
        x = torch.rand(outer, length, inner, device="cuda")
        if kind == "cumprod":
            x = 1 + (x - 0.5) / 128  # a product that stays within a float
        return [x, (torch.rand_like(x) > 0.5).float()] if kind == "masked" else [x]

    def arguments(given: Any, results: Any) -> list[Any]:
        return [given[0], given[1] if kind == "masked" else None, results[0], outer, length, inner]

    on = {"PRODUCT": "cumprod", "REVERSE": "reverse", "EXCLUSIVE": "exclusive", "MASKED": "masked"}
    shape = "x".join(str(n) for n in (outer, length, inner) if n > 1)
    return Case(
        family="scan", name=f"{kind} {shape}", source="scan.cu", module="scan_space", inputs=inputs,
        reference=references[kind], arguments=arguments,
        moved=size(outer, length, inner) * (3 if kind == "masked" else 2), goal=0.80,
        facts={"length": length, "inner": inner}, fixed={name: int(kind == value) for name, value in on.items()},
        tolerance=1e-4,
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    map_case("sigmoid", 1, 4096, 65536),
    map_case("swish", 1, 4096, 65536),
    map_case("bias_residual_gelu", 64, 64, 256 * 256),
    map_case("bias_residual_gelu", 128, 64, 181 * 181),  # rows of odd length
    map_case("swish", 1, 8192, 65536, "float16"),
    map_case("bias_residual_gelu", 128, 64, 256 * 256, "bfloat16"),
    turned_case(64, 64, 256 * 256),
    turned_case(64, 96, 126 * 126),
    turned_case(64, 128, 181 * 181),
    turned_case(64, 64, 256 * 256, "float16"),
    turn_in_case(64, 64, 256 * 256),
    turn_in_case(64, 3, 512 * 512),
    window_case("max", 2048, (512, 512), 4, 1, 1),
    window_case("mean", 256, (2048, 2048), 11, 11),
    window_case("max", 2048, (512, 512), 2, 2),
    window_case("mean", 8192, (126, 126), 2, 2),
    window_case("max", 4096, (126, 126), 4, 4),
    window_case("mean", 2048, (256, 256), 11, 1, 5),
    window_case("max", 512, (64, 128, 128), 2, 2),
    window_case("max", 512, (64, 128, 128), 4, 4),
    window_case("max", 256, (64, 128, 128), 4, 1),
    window_case("mean", 256, (64, 128, 256), 3, 2, 1),
    window_case("max", 256, (128, 128, 128), 3, 2, 1, 3),
    window_case("mean", 256, (66, 132, 132), 11, 11),
    window_case("max", 8192, (65536,), 8, 1, 4, 3),
    window_case("mean", 8192, (65536,), 8, 1, 4),
    window_case("max", 64, (64, 128, 128), 11, 1),
    window_case("max", 4096, (512, 512), 2, 2, dtype="float16"),
    window_case("max", 2048, (512, 512), 4, 1, 1, dtype="float16"),
    scan_case("cumsum", 16384, 32768),
    scan_case("cumprod", 16384, 32768),
    scan_case("masked", 8192, 32768),
    scan_case("reverse", 16384, 32768),
    scan_case("exclusive", 16384, 32768),
    scan_case("cumsum", 262144, 512),
    scan_case("cumsum", 128, 4096, 512),
)
