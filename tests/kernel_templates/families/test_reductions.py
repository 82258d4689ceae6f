"""Families rows and columns on a CUDA device: four functors under every kind of schedule, against float64."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.shipped import SEED

from tuner import backends, template
from tuner.backends import toolchain

HERE = Path(__file__).parent
INCLUDE = template.shipped_folder() / "include"
MISSING = backends.of("cuda").missing()
SOFTMAX, NORM, LARGEST, LOSSES = range(4)
SCHEDULES = {"rows": 8, "columns": 5}
ROWS = (  # segments, rows, length
    *((1, 1, 1), (1, 3, 1), (1, 7, 5), (1, 37, 64), (1, 9, 1000), (1, 4, 1023), (1, 6, 4096), (1, 2, 16384)),
    *((1, 3, 70001), (1, 1, 1000003), (1, 40, 50000)),
    *((3, 5, 7), (4, 3, 64), (8, 6, 1000), (16, 2, 50001)),
)
COLUMNS = (  # outer, columns of each, length
    *((1, 1, 1), (1, 5, 3), (2, 64, 1), (3, 49, 24), (2, 1000, 64), (5, 33, 130), (1, 4096, 500), (1, 30, 20011)),
    *((7, 8, 16),),
)
MARGIN = 16  # elements on both sides of a result that are not to be written


def build(family: str, dtype: str, library: Path, *options: str) -> None:
    command = [toolchain.nvcc() or "nvcc", "-std=c++17", "-arch=sm_90", f"-DTUNER_DTYPE={dtype}", "-shared", *options]
    command += ["-Xcompiler", "-fPIC", "-I", str(INCLUDE), "-o", str(library), str(HERE / f"{family}.cu")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class Trial:
    """Inputs of one shape and what is right; results lie in poisoned memory, and none is aligned as the other is."""

    def __init__(self, shape: tuple[int, int, int], axis: int, dtype: torch.dtype, offset: int) -> None:
        outer, side, length = shape
        self.shape, self.dtype, self.offset = shape, dtype, offset
        generator = torch.Generator("cuda").manual_seed(SEED)
        # (outer, rows, length) of segments, or (outer, length, inner)
        sizes = (outer, side, length) if axis == 2 else (outer, length, side)
        self.a, self.b = (self.placed(torch.randn(sizes, device="cuda", generator=generator)) for _ in range(2))
        self.rows = side if axis == 2 else outer * side
        reduced = outer * length if axis == 2 else length
        self.weight = torch.randn(reduced, device="cuda", generator=generator) + 2
        self.axis = axis

    def placed(self, values: torch.Tensor) -> torch.Tensor:
        memory = torch.empty(values.numel() + self.offset, device="cuda", dtype=self.dtype)[self.offset :]
        return memory.copy_(values.flatten()).view(values.shape)

    def as_rows(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, reduced elements)"""
        x = x.transpose(0, 1) if self.axis == 2 else x.transpose(1, 2)
        return x.reshape(self.rows, -1)

    def wanted(self, which: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        a, b = self.as_rows(self.a).double(), self.as_rows(self.b).double()
        if which == SOFTMAX:
            return [a.softmax(1)], a.new_empty(0, self.rows)
        if which == LARGEST:
            return [], a.argmax(1)[None]
        if which == LOSSES:
            return [], torch.stack([(a - b).square().sum(1), (a - b).abs().sum(1)])
        x = (a + b) * self.weight
        mean, variance = x.mean(1, True), x.var(1, correction=0, keepdim=True)
        y = (x - mean) * (variance + 1e-5).rsqrt()
        return [y, x], torch.stack([mean[:, 0], variance[:, 0], y.logsumexp(1)])

    def run(
        self, call: Callable[..., int], schedule: int, which: int, workspace: torch.Tensor | None
    ) -> list[torch.Tensor]:
        memory = [
            torch.full((self.a.numel() + 2 * MARGIN,), float("nan"), device="cuda", dtype=self.dtype) for _ in range(2)
        ]
        results = [m[MARGIN:-MARGIN].view(self.a.shape) for m in memory]
        totals = torch.full((3, self.rows), -1, device="cuda", dtype=torch.long if which == LARGEST else torch.float32)
        tensors = (self.a, self.b, self.weight, *results, totals)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in tensors]
        outer, _, length = self.shape
        sizes = [ctypes.c_longlong(n) for n in (outer, self.rows, length)]
        space = ctypes.c_void_p(workspace.data_ptr() if workspace is not None else None)
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        assert call(schedule, which, *pointers, *sizes, space, stream) == 0
        torch.cuda.synchronize()
        for m in memory:
            assert m[:MARGIN].isnan().all() and m[-MARGIN:].isnan().all(), "written beside the result"
        return [*results, totals]


def agree(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def check(call: Callable[..., int], family: str, schedule: int, dtype: torch.dtype, workspace: torch.Tensor) -> None:
    axis, shapes = (2, ROWS) if family == "rows" else (1, COLUMNS)
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    for shape in shapes:
        for offset in (0, 1):
            trial = Trial(shape, axis, dtype, offset)
            for which in (NORM,) if family == "rows" and shape[0] > 1 else (SOFTMAX, NORM, LARGEST, LOSSES):
                *results, totals = trial.run(call, schedule, which, workspace)
                *again, totals_again = trial.run(call, schedule, which, workspace)
                wanted, wanted_totals = trial.wanted(which)
                try:
                    for mine, twice, right in zip(results, again, wanted, strict=False):
                        agree(trial.as_rows(mine), right, tolerance)
                        assert torch.equal(mine, twice)
                    count = len(wanted_totals)
                    agree(totals[:count], wanted_totals, 0 if which == LARGEST else 2e-5)
                    assert torch.equal(totals[:count], totals_again[:count])
                except AssertionError as fault:
                    raise AssertionError(
                        f"{family} schedule {schedule} functor {which} of {shape} + {offset}: {fault}"
                    ) from None


@pytest.mark.slow
@pytest.mark.parametrize("family", SCHEDULES)
def test_it_compiles(family: str, tmp_path: Path) -> None:
    if toolchain.nvcc() is None:
        pytest.skip("no nvcc")
    build(family, "float", tmp_path / "library.so", "-DONE_SCHEDULE")


@pytest.mark.gpu
@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
@pytest.mark.parametrize("dtype", ["float", "half"])
@pytest.mark.parametrize("family", SCHEDULES)
def test_every_schedule_of_every_shape(family: str, dtype: str, tmp_path: Path) -> None:
    build(family, dtype, tmp_path / "library.so")
    call = ctypes.CDLL(str(tmp_path / "library.so")).run
    workspace = torch.empty(32 << 20, dtype=torch.uint8, device="cuda")
    for schedule in range(SCHEDULES[family]):
        check(call, family, schedule, torch.float32 if dtype == "float" else torch.float16, workspace)
