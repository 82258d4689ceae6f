"""families/map, turned, windows and scan on a CUDA device: odd sizes, addresses between vectors, short dtypes, NaN."""

from __future__ import annotations

import itertools
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.launchers import Launch, launcher
from helpers.shipped import SEED

from tuner import backends, template
from tuner.backends import toolchain

HERE, INCLUDE = Path(__file__).parent, template.shipped_folder() / "include"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
MISSING = backends.of("cuda").missing()
NAN, INF = float("nan"), float("inf")
gpu = [pytest.mark.gpu, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]
TURNED = [  # samples, channels, positions
    (1, 1, 1), (2, 3, 700), (2, 70, 5), (3, 64, 1024), (2, 96, 225), (1, 36, 999), (2, 33, 65), (1, 20, 44),
    (2, 72, 130),
]  # fmt: skip
SCANNED = [(1, 1, 1), (5, 4096, 1), (9, 1111, 1), (3, 6, 1), (2, 300, 8), (3, 77, 5)]  # outer, length, inner


@pytest.mark.slow
@pytest.mark.parametrize("name", ["map", "turned", "windows", "scan"])
def test_a_source_compiles_without_spilling(name: str, tmp_path: Path) -> None:
    if toolchain.nvcc() is None:
        pytest.skip("no nvcc")
    command = [toolchain.nvcc() or "", "-arch=sm_90a", "-cubin", "-std=c++17", "-Xptxas", "-v", "-I", str(INCLUDE)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out"), str(HERE / f"{name}.cu")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    spilled = [line for line in done.stderr.splitlines() if "spill" in line]
    assert spilled and all(" 0 bytes spill stores" in line for line in spilled)


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found: torch.dtype = request.param
    return found


@pytest.fixture(scope="module")
def built(dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Launch]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("streams")))
        for name, value in toolchain.environment().items():
            patch.setenv(name, value)
        yield {name: launcher(HERE / f"{name}.cu", dtype) for name in ("map", "turned", "windows", "scan")}


class TestOnCuda:
    pytestmark = gpu

    # ---- map ----

    @pytest.mark.parametrize("skew", [0, 1])  # elements by which tensors start beside a vector
    @pytest.mark.parametrize(
        ("rows", "length"), [(1, 1), (3, 1), (1, 4096), (7, 3), (37, 129), (5, 4100), (33, 2048), (2, 50001)]
    )
    def test_a_map(self, built: dict[str, Launch], dtype: torch.dtype, rows: int, length: int, skew: int) -> None:
        x, y = (drawn(dtype, skew, rows, length) for _ in range(2))
        scale, shift = drawn(dtype, 0, rows), drawn(dtype, 0, length)
        x[0, 0], y[-1, -1] = NAN, INF
        result, difference = (empty(dtype, skew, rows, length) for _ in range(2))
        built["map"]("affine", x, y, scale, shift, result, difference, rows, length)
        close(result, x.double() * scale.double()[:, None] + shift.double())
        close(difference, x.double() - y.double())

    def test_a_map_of_nothing(self, built: dict[str, Launch], dtype: torch.dtype) -> None:
        result = empty(dtype, 0, 9, 77)
        built["map"]("numbers", result, 9, 77)
        close(result, torch.arange(9.0, device="cuda")[:, None] - torch.arange(77.0, device="cuda"))

    # ---- turned ----

    @pytest.mark.parametrize("skew", [0, 1])
    @pytest.mark.parametrize("by_tiles", [0, 1])
    @pytest.mark.parametrize("shape", TURNED, ids=str)
    def test_a_map_of_what_lies_channels_last(
        self, built: dict[str, Launch], dtype: torch.dtype, shape: tuple[int, int, int], by_tiles: int, skew: int
    ) -> None:
        samples, channels, positions = shape
        x, y = (drawn(dtype, skew, samples, positions, channels) for _ in range(2))
        scale, shift = drawn(dtype, 0, samples * channels), drawn(dtype, 0, positions)
        result, difference = (empty(dtype, skew, samples, channels, positions) for _ in range(2))
        built["turned"]("affine", by_tiles, x, y, scale, shift, result, difference, samples, channels, positions)
        by_row = scale.double().view(samples, channels, 1)
        close(result, x.double().transpose(1, 2) * by_row + shift.double())
        close(difference, (x.double() - y.double()).transpose(1, 2))

    @pytest.mark.parametrize(("channels", "positions"), [(64, 900), (3, 1000), (33, 77)])
    def test_a_layout_is_turned_in(
        self, built: dict[str, Launch], dtype: torch.dtype, channels: int, positions: int
    ) -> None:
        x, y = drawn(dtype, 0, 2, channels, positions), empty(dtype, 0, 2, positions, channels)
        built["turned"]("turn_in", x, y, 2, channels, positions)
        assert torch.equal(y, x.transpose(1, 2))

    # ---- windows ----

    @pytest.mark.parametrize("skew", [0, 1])
    @pytest.mark.parametrize(
        ("kind", "plane"),
        [
            *itertools.product((0, 1, 4), ((16, 32), (17, 30), (9, 7), (5, 1100))),
            *itertools.product((2, 3), ((8, 16, 32), (9, 10, 11), (7, 33, 258))),
            *itertools.product((5,), ((64,), (4096,), (4099,), (30,))),
            *itertools.product((6,), ((90, 40), (200, 33))),
        ],
    )
    def test_pooling(
        self, built: dict[str, Launch], dtype: torch.dtype, kind: int, plane: tuple[int, ...], skew: int
    ) -> None:
        rows = 3
        x, scale, shift = (drawn(dtype, skew, rows, *plane), drawn(dtype, 0, rows), drawn(dtype, 0, *plane))
        by_row = scale.double().view(rows, *(1,) * len(plane))
        pooled = pooled_by_torch(kind, x.double() * by_row + shift.double())
        late = drawn(dtype, 0, *pooled.shape[1:])
        y = empty(dtype, 0, *pooled.shape)
        sizes = [*(1,) * (3 - len(plane)), *plane, *(1,) * (3 - len(plane)), *pooled.shape[1:]]
        built["windows"]("pool", kind, x, scale, shift, late, y, rows, *sizes)
        close(y, pooled * by_row + late.double())

    @pytest.mark.parametrize(("size", "out"), [(15, 8), (16, 9)])
    def test_windows_that_overhang(self, built: dict[str, Launch], dtype: torch.dtype, size: int, out: int) -> None:
        """ceil_mode: the last windows reach beyond the padding, and a mean does not count what lies there."""
        x = drawn(dtype, 0, 2, size, size, size)
        wanted = F.avg_pool3d(x.double()[None], 3, 2, 1, ceil_mode=True)[0]
        assert wanted.shape[1] == out
        ones, zeros = (
            torch.ones(2, device="cuda", dtype=dtype),
            torch.zeros(out**3 + size**3, device="cuda", dtype=dtype),
        )
        y = empty(dtype, 0, *wanted.shape)
        built["windows"]("pool", 3, x, ones, zeros, zeros, y, 2, size, size, size, out, out, out)
        close(y, wanted)

    def test_nan_wins_a_maximum_and_padding_never(self, built: dict[str, Launch], dtype: torch.dtype) -> None:
        x = torch.full((1, 8, 8), -INF, device="cuda", dtype=dtype)
        x[0, 3, 4] = NAN
        ones, zeros = torch.ones(1, device="cuda", dtype=dtype), torch.zeros(64, device="cuda", dtype=dtype)
        y = empty(dtype, 0, 1, 7, 7)
        built["windows"]("pool", 1, x, ones, zeros, zeros, y, 1, 1, 8, 8, 1, 7, 7)
        wanted = F.max_pool2d(x, 4, 1, 1)
        assert torch.equal(y.isnan(), wanted.isnan())
        assert bool((y[~y.isnan()] == -INF).all())

    # ---- scan ----

    @pytest.mark.parametrize("skew", [0, 1])
    @pytest.mark.parametrize("by_warps", [0, 1])
    @pytest.mark.parametrize("kind", range(4))
    @pytest.mark.parametrize(
        "shape", [(1, 1, 1), (5, 4096, 1), (9, 1111, 1), (3, 6, 1), (2, 300, 8), (3, 77, 5)], ids=str
    )
    def test_a_scan(
        self,
        built: dict[str, Launch],
        dtype: torch.dtype,
        shape: tuple[int, int, int],
        kind: int,
        by_warps: int,
        skew: int,
    ) -> None:
        outer, length, inner = shape
        x, late = (drawn(dtype, skew, *shape) for _ in range(2))
        scale, shift = drawn(dtype, 0, outer * inner), drawn(dtype, 0, length)
        if kind == 1:  # a product that neither grows nor fades
            x.mul_(1 / 64).clamp_(-1 / 32, 1 / 32), scale.fill_(1), shift.fill_(1)
        y = empty(dtype, skew, *shape)
        built["scan"]("scan", kind, by_warps, x, late, scale, shift, y, *shape)
        lifted = x.double() * scale.double().view(outer, 1, inner) + shift.double().view(1, length, 1)
        running = scanned(kind, lifted)
        wanted = running + late.double() - shift.double().view(1, length, 1)
        error = (y.double() - wanted).abs().max()
        assert float(error) <= TOLERANCES[dtype] * max(1.0, float(running.abs().max()))

    def test_sums_are_as_near_as_torch_s(self, built: dict[str, Launch], dtype: torch.dtype) -> None:
        if dtype != torch.float32:
            pytest.skip("of float")
        x = torch.rand(8, 32768, 1, device="cuda")
        late, y = torch.zeros_like(x), torch.empty_like(x)
        ones, zeros = torch.ones(8, device="cuda"), torch.zeros(32768, device="cuda")
        built["scan"]("scan", 0, 0, x, late, ones, zeros, y, 8, 32768, 1)
        wanted = x.double().cumsum(1)
        mine, torchs = ((found.double() - wanted).abs().max() for found in (y, x.cumsum(1)))
        assert float(mine) <= 2 * float(torchs)


def drawn(dtype: torch.dtype, skew: int, *shape: int) -> torch.Tensor:
    """Random values that start `skew` elements beside a vector."""
    count = math.prod(shape)
    values = torch.randn(count + skew, generator=torch.Generator().manual_seed(SEED + count), dtype=torch.float64)
    return values.to("cuda", dtype)[skew:].view(shape)


def empty(dtype: torch.dtype, skew: int, *shape: int) -> torch.Tensor:
    """Room that holds a number no test results in."""
    return torch.full((math.prod(shape) + skew,), 12345.0, device="cuda", dtype=dtype)[skew:].view(shape)


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCES[found.dtype]
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def pooled_by_torch(kind: int, x: torch.Tensor) -> torch.Tensor:
    """What windows.cu computes of planes, by PyTorch."""
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


def scanned(kind: int, lifted: torch.Tensor) -> torch.Tensor:
    """The scan of scan.cu along axis 1, by PyTorch."""
    if kind == 1:
        return lifted.cumprod(1)
    if kind == 0:
        return lifted.cumsum(1)
    through = lifted.flip(1).cumsum(1).flip(1)
    return through if kind == 2 else torch.cat([through[:, 1:], torch.zeros_like(through[:, :1])], 1)
