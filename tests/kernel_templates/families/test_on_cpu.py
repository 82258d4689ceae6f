"""The families on the CPU: awkward sizes, short dtypes, NaN, any number of threads; against float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.launchers import Launch, launcher
from helpers.shipped import SEED

from tuner.backends import toolchain

pytestmark = pytest.mark.slow

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
SOFTMAX, NORM, LARGEST, LOSSES = range(4)
NAN, INF = float("nan"), float("inf")
ROWS = (  # segments, rows, length
    *((1, 1, 1), (1, 3, 1), (1, 7, 5), (1, 37, 64), (1, 9, 1000), (1, 2, 4099), (1, 1, 70001)),
    *((3, 5, 7), (4, 3, 64), (8, 6, 1000), (70, 2, 49)),
)
COLUMNS = (  # outer, length, inner
    *((1, 1, 1), (1, 3, 5), (2, 1, 64), (3, 24, 49), (2, 64, 1000), (5, 130, 33), (1, 5003, 30), (7, 16, 8)),
    (9, 333, 1),
)
SCANNED = ((1, 1, 1), (5, 4096, 1), (9, 1111, 1), (3, 6, 1), (2, 300, 8), (3, 77, 5), (1, 9, 1000))
POOLED = [
    *itertools.product((0, 1, 4), ((16, 32), (17, 30), (9, 7), (5, 1100))),
    *itertools.product((2, 3), ((8, 16, 32), (9, 10, 11), (7, 33, 58))),
    *itertools.product((5,), ((64,), (4099,), (30,))),
    (6, (90, 40)),
]


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


@pytest.fixture(scope="module")
def launch(dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    if not toolchain.compiler() or toolchain.ninja() is None:
        pytest.skip("no C++ compiler, or no ninja")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("families")))
        for name, value in toolchain.environment().items():
            patch.setenv(name, value)
        yield launcher(Path(__file__).with_name("on_cpu.cpp"), dtype)


def drawn(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Random values, not aligned to anything but an element."""
    count = math.prod(shape)
    values = torch.randn(count + 1, generator=torch.Generator().manual_seed(SEED + count), dtype=torch.float64)
    return values.to(dtype)[1:].view(shape)


class Results:
    """Tensors that hold a number no test results in, and around which nothing may be written."""

    MARGIN, UNTOUCHED = 16, 12345.0

    def __init__(self, dtype: torch.dtype, *shapes: tuple[int, ...]) -> None:
        around = [torch.full((math.prod(s) + 2 * self.MARGIN,), self.UNTOUCHED).to(dtype) for s in shapes]
        self.around = around
        self.tensors = [a[self.MARGIN : -self.MARGIN].view(s) for a, s in zip(around, shapes, strict=True)]

    def check(self, *wanted: torch.Tensor) -> None:
        for found, right, around in zip(self.tensors, wanted, self.around, strict=True):
            close(found, right)
            untouched = torch.cat([around[: self.MARGIN], around[-self.MARGIN :]])
            assert bool((untouched == untouched[0]).all())


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 0.0) -> None:
    tolerance = max(tolerance, TOLERANCES[found.dtype])
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


# ---- map ----


@pytest.mark.parametrize("otherwise", [0, 1])
@pytest.mark.parametrize(
    ("rows", "length"), [(0, 5), (5, 0), (1, 1), (300, 1), (1, 4096), (7, 3), (37, 129), (5, 4100), (2, 50001)]
)
def test_a_map(launch: Launch, dtype: torch.dtype, rows: int, length: int, otherwise: int) -> None:
    x, y, scale, shift = (drawn(dtype, *shape) for shape in ((rows, length), (rows, length), (rows,), (length,)))
    if rows * length:
        x[0, 0], y[-1, -1] = NAN, INF
    results = Results(dtype, x.shape, x.shape)
    launch("affine", otherwise, x, y, scale, shift, *results.tensors, rows, length)
    results.check(x.double() * scale.double()[:, None] + shift.double(), x.double() - y.double())


def test_a_map_of_nothing(launch: Launch, dtype: torch.dtype) -> None:
    results = Results(dtype, (9, 77))
    launch("numbers", *results.tensors, 9, 77)
    results.check(torch.arange(9.0)[:, None] - torch.arange(77.0))


# ---- rows, columns ----


def reduced(which: int, a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> list[torch.Tensor]:
    """What reductions.hpp computes of tensors (rows, length): results, then totals (which, row)."""
    a, b = a.double(), b.double()
    if which == SOFTMAX:
        return [a.softmax(1)]
    if which == LARGEST:
        return [a.argmax(1)[None]]
    if which == LOSSES:
        return [torch.stack([(a - b).square().sum(1), (a - b).abs().sum(1)])]
    x = (a + b) * weight.double()
    mean, variance = x.mean(1, True), x.var(1, correction=0, keepdim=True)
    y = (x - mean) * (variance + 1e-5).rsqrt()
    return [y, x, torch.stack([mean[:, 0], variance[:, 0], y.logsumexp(1)])]


class Reduction:
    """Inputs of one shape, whose reduced axes may be brought to (rows, length), and a launch of the family."""

    def __init__(self, launch: Launch, family: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
        self.launch, self.family, self.dtype, self.shape = launch, family, dtype, shape
        self.a, self.b = drawn(dtype, *shape), drawn(dtype, *shape).flip(0, 1, 2).contiguous()
        self.rows = shape[1] if family == "rows" else shape[0] * shape[2]
        self.length = self.a.numel() // self.rows
        self.real = torch.float64 if dtype == torch.float64 else torch.float32
        self.weight = drawn(self.real, self.length) + 2

    def as_rows(self, x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(0, 1) if self.family == "rows" else x.transpose(1, 2)
        return x.reshape(self.rows, self.length)

    def wanted(self, which: int) -> list[torch.Tensor]:
        return reduced(which, self.as_rows(self.a), self.as_rows(self.b), self.weight)

    def run(self, which: int, otherwise: int) -> list[torch.Tensor]:
        results = Results(self.dtype, self.shape, self.shape)
        count, kind = (1, torch.int64) if which == LARGEST else (3, self.real)
        totals = torch.zeros(count, self.rows, dtype=kind)
        self.launch(self.family, otherwise, which, self.a, self.b, self.weight, *results.tensors, totals, *self.shape)
        count = {SOFTMAX: 1, NORM: 2}.get(which, 0)
        for tensor in results.tensors[count:]:
            assert bool((tensor == tensor.flatten()[0]).all())
        found = [self.as_rows(t) for t in results.tensors[:count]]
        return found if which == SOFTMAX else [*found, totals[: {LARGEST: 1, LOSSES: 2}.get(which, 3)]]

    def check(self, which: int, otherwise: int = 0) -> None:
        for mine, right in zip(self.run(which, otherwise), self.wanted(which), strict=True):
            if mine.is_floating_point():
                close(mine, right, self.tolerance(which, mine.dtype))
            else:
                assert torch.equal(mine, right)

    def tolerance(self, which: int, dtype: torch.dtype) -> float:
        """A single value less its mean is what rounding leaves, and a norm divides that by sqrt(1e-5)."""
        return 1e-3 if which == NORM and self.length == 1 else TOLERANCES[dtype]


CASES = [*(("rows", shape) for shape in ROWS), *(("columns", shape) for shape in COLUMNS)]


@pytest.mark.parametrize("otherwise", [0, 1])
@pytest.mark.parametrize("which", [SOFTMAX, NORM, LARGEST, LOSSES])
@pytest.mark.parametrize(("family", "shape"), CASES, ids=str)
def test_a_reduction(
    launch: Launch, dtype: torch.dtype, family: str, shape: tuple[int, int, int], which: int, otherwise: int
) -> None:
    reduction = Reduction(launch, family, dtype, shape)
    reduction.check(which, otherwise)


@pytest.mark.parametrize(
    ("family", "shape"), [("rows", (1, 2, 40009)), ("rows", (7, 20, 999)), ("columns", (1, 5003, 30))]
)
def test_results_do_not_depend_on_the_threads(
    launch: Launch, dtype: torch.dtype, family: str, shape: tuple[int, int, int]
) -> None:
    reduction = Reduction(launch, family, dtype, shape)
    many = reduction.run(NORM, 0)
    launch("set_threads", 1)
    one = reduction.run(NORM, 0)
    launch("set_threads", 3)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


@pytest.mark.parametrize("family", ["rows", "columns"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_special_values_spread_as_they_do_in_pytorch(
    launch: Launch, dtype: torch.dtype, family: str, value: float
) -> None:
    reduction = Reduction(launch, family, dtype, (1, 300, 300))
    reduction.a[0, 7, 200] = value
    for which in (SOFTMAX, LARGEST, LOSSES):
        reduction.check(which)


@pytest.mark.parametrize(("family", "shape"), [("rows", (1, 0, 5)), ("columns", (0, 3, 2)), ("columns", (2, 3, 0))])
def test_no_rows(launch: Launch, dtype: torch.dtype, family: str, shape: tuple[int, int, int]) -> None:
    x = torch.empty(shape, dtype=dtype)
    launch(family, 0, SOFTMAX, x, x, None, x, x, None, *shape)


# ---- windows ----


def pooled_by_torch(kind: int, x: torch.Tensor) -> torch.Tensor:
    """What on_cpu.cpp computes of planes, by PyTorch."""
    call: Any = [
        lambda: F.max_pool2d(x[None], 2),
        lambda: F.max_pool2d(x[None], 4, 1, 1),
        lambda: F.max_pool3d(x[None], 3, 2, 1, 3),
        lambda: F.avg_pool3d(x[None], 3, 2, 1),
        lambda: F.avg_pool2d(x[None], 3, 2, 1, count_include_pad=False),
        lambda: F.max_pool1d(x[None], 8, 1, 4, 3),
        lambda: F.avg_pool2d(x[None], (80, 5), (3, 5), (2, 0)),
    ][kind]
    found: torch.Tensor = call()[0]
    return found


@pytest.mark.parametrize("otherwise", [0, 1])
@pytest.mark.parametrize(("kind", "plane"), POOLED, ids=str)
def test_pooling(launch: Launch, dtype: torch.dtype, kind: int, plane: tuple[int, ...], otherwise: int) -> None:
    rows = 3
    x, scale, shift = drawn(dtype, rows, *plane), drawn(dtype, rows), drawn(dtype, *plane)
    by_row = scale.double().view(rows, *(1,) * len(plane))
    pooled = pooled_by_torch(kind, x.double() * by_row + shift.double())
    late = drawn(dtype, *pooled.shape[1:])
    results = Results(dtype, tuple(pooled.shape))
    sizes = [*(1,) * (3 - len(plane)), *plane, *(1,) * (3 - len(plane)), *pooled.shape[1:]]
    launch("pool", otherwise, kind, x, scale, shift, late, *results.tensors, rows, *sizes)
    results.check(pooled * by_row + late.double())


@pytest.mark.parametrize(("size", "out"), [(15, 8), (16, 9)])
def test_windows_that_overhang(launch: Launch, dtype: torch.dtype, size: int, out: int) -> None:
    """ceil_mode: the last windows reach beyond the padding, and a mean does not count what lies there."""
    x = drawn(dtype, 2, size, size, size)
    wanted = F.avg_pool3d(x.double()[None], 3, 2, 1, ceil_mode=True)[0]
    assert wanted.shape[1] == out
    ones, zeros = torch.ones(2, dtype=dtype), torch.zeros(size**3, dtype=dtype)
    results = Results(dtype, tuple(wanted.shape))
    launch("pool", 0, 3, x, ones, zeros, zeros, *results.tensors, 2, size, size, size, out, out, out)
    results.check(wanted)


def test_nan_wins_a_maximum_and_padding_never(launch: Launch, dtype: torch.dtype) -> None:
    x = torch.full((1, 8, 8), -INF, dtype=dtype)
    x[0, 3, 4] = NAN
    ones, zeros = torch.ones(1, dtype=dtype), torch.zeros(64, dtype=dtype)
    results = Results(dtype, (1, 7, 7))
    launch("pool", 0, 1, x, ones, zeros, zeros, *results.tensors, 1, 1, 8, 8, 1, 7, 7)
    results.check(F.max_pool2d(x.double(), 4, 1, 1))


# ---- scan ----


def scanned(kind: int, lifted: torch.Tensor) -> torch.Tensor:
    """The scan of on_cpu.cpp along axis 1, by PyTorch."""
    if kind == 1:
        return lifted.cumprod(1)
    if kind == 0:
        return lifted.cumsum(1)
    through = lifted.flip(1).cumsum(1).flip(1)
    return through if kind == 2 else torch.cat([through[:, 1:], torch.zeros_like(through[:, :1])], 1)


@pytest.mark.parametrize("otherwise", [0, 1])
@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("shape", SCANNED, ids=str)
def test_a_scan(launch: Launch, dtype: torch.dtype, shape: tuple[int, int, int], kind: int, otherwise: int) -> None:
    outer, length, inner = shape
    x, late = (drawn(dtype, *shape) for _ in range(2))
    scale, shift = drawn(dtype, outer * inner), drawn(dtype, length)
    if kind == 1:  # a product that neither grows nor fades
        x.mul_(1 / 64).clamp_(-1 / 32, 1 / 32), scale.fill_(1), shift.fill_(1)
    results = Results(dtype, shape)
    launch("scan", otherwise, kind, x, late, scale, shift, *results.tensors, *shape)
    lifted = x.double() * scale.double().view(outer, 1, inner) + shift.double().view(1, length, 1)
    running = scanned(kind, lifted)
    wanted = running + late.double() - shift.double().view(1, length, 1)
    error = (results.tensors[0].double() - wanted).abs().max()
    assert float(error) <= TOLERANCES[dtype] * max(1.0, float(running.abs().max()))


def test_sums_are_as_near_as_torch_s(launch: Launch, dtype: torch.dtype) -> None:
    if dtype != torch.float32:
        pytest.skip("of float")
    x = torch.rand(8, 32768, 1)
    late, y = torch.zeros_like(x), torch.empty_like(x)
    launch("scan", 0, 0, x, late, torch.ones(8), torch.zeros(32768), y, 8, 32768, 1)
    wanted = x.double().cumsum(1)
    mine, torchs = ((found.double() - wanted).abs().max() for found in (y, x.cumsum(1)))
    assert float(mine) <= 2 * float(torchs)
