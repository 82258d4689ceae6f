"""The physical floor of a workload, by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner import backends, problem
from tuner.measurement.floor import floor
from tuner.records import Floating, Floor, TensorSpec, Workload

LINEAR = """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(x)


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return [8, 16]
"""
CEILINGS = {"read_gbps": 10.0, "fp32_tflops": 1.0, "tf32_tflops": 2.0}
INPUT, WEIGHT, BIAS, RESULT = 4 * 8, 16 * 8, 16, 4 * 16  # elements

FloorOn = Callable[..., Floor]


@pytest.fixture
def floor_on(tmp_path: Path) -> FloorOn:
    """The floor of a Linear from 8 to 16 on `batch` rows."""
    path = tmp_path / "problem.py"
    path.write_text(LINEAR)

    def floor_on(torch_device: str, batch: int = 4, dtype: Floating | None = None) -> Floor:
        workload = Workload(init=(8, 16), inputs=(TensorSpec(shape=(batch, 8)),)).in_dtype(dtype)
        return floor(problem.load(path), workload, CEILINGS, backends.of(torch_device))

    return floor_on


def test_everything_is_moved_once(floor_on: FloorOn) -> None:
    found = floor_on("cuda:0")
    assert found.bytes == 4 * (INPUT + WEIGHT + BIAS + RESULT)
    assert found.memory_ms == pytest.approx(found.bytes / 10e9 * 1e3)


def test_in_half_the_bytes_half_is_moved(floor_on: FloorOn) -> None:
    assert 2 * floor_on("cuda:0", dtype="bfloat16").bytes == floor_on("cuda:0").bytes


def test_operations_go_at_the_fastest_rate(floor_on: FloorOn) -> None:
    found = floor_on("cuda:0")
    assert found.flops == 2 * RESULT * 8
    assert found.compute_ms == pytest.approx(found.flops / 2e12 * 1e3)


def test_what_a_cpu_may_hold_in_its_caches_has_no_floor_of_memory(floor_on: FloorOn) -> None:
    found = floor_on("cpu")
    assert found.memory_ms == 0 and found.floor_ms == found.compute_ms > 0


def test_what_no_cache_holds_has_one_on_a_cpu_too(floor_on: FloorOn) -> None:
    found = floor_on("cpu", batch=2**24)
    assert found.floor_ms == found.memory_ms == pytest.approx(found.bytes / 10e9 * 1e3)
