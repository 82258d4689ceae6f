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


CASES: tuple[Case, ...] = (
    map_case("sigmoid", 1, 4096, 65536),
    map_case("swish", 1, 4096, 65536),
    map_case("bias_residual_gelu", 64, 64, 256 * 256),
    map_case("bias_residual_gelu", 128, 64, 181 * 181),  # rows of odd length
    map_case("swish", 1, 8192, 65536, "float16"),
    map_case("bias_residual_gelu", 128, 64, 256 * 256, "bfloat16"),
)
