"""kernel_templates/include: README.md lists every file, each compiles alone, and the small ones compute what they say.

`include/NAME.cpp` and `.cu` beside this file export `run`, which is launched as a candidate launches its kernels.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.shipped import KERNELS, SEED, default

from tuner import backends, template
from tuner.backends import toolchain
from tuner.template import render
from tuner.template.shared import inline_includes

INCLUDE = template.shipped_folder() / "include"
HEADERS = sorted(path for path in INCLUDE.rglob("*") if path.suffix in (".cuh", ".hpp"))
LAUNCHERS = Path(__file__).parent / "include"
LONGEST = 80  # lines of a function
LISTED = {  # of README.md: path, what it needs
    cells[0].strip(" `"): cells[1].strip()
    for line in (INCLUDE / "README.md").read_text().splitlines()
    if line.startswith("| `") and (cells := line.strip("|").split("|"))
}


def relative(path: Path) -> str:
    return path.relative_to(INCLUDE).as_posix()


# ---- every file -------------------------------------------------------------------------------------


def test_the_readme_lists_every_file() -> None:
    assert sorted(LISTED) == sorted(relative(p) for p in INCLUDE.rglob("*.*") if p.suffix in (".cuh", ".hpp", ".py"))


def knobs_for(header: Path) -> str:
    """The defines that a source which includes this header gives it; none where no source does."""
    for kernel in KERNELS:
        for variant in kernel.variants:
            source = kernel.folder / variant.source
            if header.resolve() in includes(source, kernel.folder):
                text = inline_includes(source)
                fixed = re.findall(r"^#define CHANNEL_TILES \d+\n(?!#endif)", source.read_text(), re.MULTILINE)
                return render.defines(variant, default(variant).knobs, text) + "".join(fixed)
    return ""


def includes(path: Path, folder: Path) -> set[Path]:
    """All files that a source includes, directly or not."""
    found: set[Path] = set()
    for name in re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE):
        target = next(place / name for place in (path.parent, folder, INCLUDE) if (place / name).is_file()).resolve()
        found |= {target} | includes(target, folder)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("header", HEADERS, ids=relative)
def test_it_compiles_alone(header: Path, needs_compiler: None, tmp_path: Path) -> None:
    needs = LISTED[relative(header)]
    source = tmp_path / ("alone.cpp" if "C++" in needs else "alone.cu")
    source.write_text(f'{knobs_for(header)}#include "{relative(header)}"\n')
    command = [*toolchain.compiler(), "-c"]
    if source.suffix == ".cu":
        if toolchain.nvcc() is None:
            pytest.skip("no nvcc")
        command = [toolchain.nvcc() or "", f"-arch={needs.split()[-1]}", "-cubin"]
    command += ["-std=c++17", "-I", str(INCLUDE), "-o", "/dev/null", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("header", HEADERS, ids=relative)
def test_no_function_is_long(header: Path) -> None:
    opened: list[tuple[int, str]] = []  # of each block that is open: its first line
    for number, line in enumerate(header.read_text().splitlines(), 1):
        for brace in re.findall(r"[{}]", re.sub(r"//.*|\"[^\"]*\"", "", line)):
            if brace == "{":
                opened.append((number, line))
                continue
            start, first = opened.pop()
            assert number - start < LONGEST or ")" not in first, f"{header}:{start}: {number - start + 1} lines"
    assert not opened


@pytest.mark.parametrize("header", HEADERS, ids=relative)
def test_only_reduce_shuffles_to_reduce(header: Path) -> None:
    assert "__shfl_xor_sync" not in header.read_text() or header.name == "reduce.cuh"


# ---- what the small ones compute --------------------------------------------------------------------

Run = Callable[..., None]


def launcher(source: Path, minimum: tuple[int, int] = (0, 0), exact: bool = False) -> Run:
    """`run` of a source, built and called by the candidates' own runtime."""
    names: dict[str, Any] = {}
    runtime = Path(render.__file__).with_name("candidate_runtime.py").read_text()
    exec("import ctypes, hashlib, inspect, math, os, tempfile\nimport torch\n" + runtime, names)
    kind = "cuda" if source.suffix == ".cu" else "cpu"
    text = inline_includes(source)
    kernel = names["Kernel"](source.stem, None, kind, "", (), torch.float32, {}, text, minimum, exact)

    def run(*arguments: Any) -> None:
        kernel.launch("run", *arguments)

    return run


@pytest.fixture
def built(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The launcher of the source that the test names."""
    if not toolchain.compiler() or toolchain.ninja() is None:
        pytest.skip("no C++ compiler, or no ninja")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    for name, value in toolchain.environment().items():
        monkeypatch.setenv(name, value)
    name, *needs = request.param if isinstance(request.param, tuple) else (request.param,)
    return launcher(LAUNCHERS / name, *needs)


def named(*parameters: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("built", parameters, indirect=True, ids=["source"])


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(found.cpu().double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


SPECIAL = torch.tensor([0.0, -0.0, 3.0, -3.0, 1e30, -1e30, float("inf"), float("nan")])


@pytest.mark.slow
@named("activation.cpp")
def test_activations_of_vectors_and_of_floats(built: Run) -> None:
    x = torch.cat([4 * drawn(24), SPECIAL])
    out = torch.empty(6, 32)
    built(x, out, 32)
    for rows, wanted in zip(out.split(2), (F.relu(x), F.hardswish(x), x), strict=True):
        close(rows, wanted.expand(2, -1))


@pytest.mark.slow
@named("element.cpp")
def test_short_elements_are_rounded_as_pytorch_does(built: Run) -> None:
    x = drawn(2**16).view(16, -1) * 10.0 ** torch.arange(-10, 6)[:, None]
    halves = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.half).float()
    x = torch.cat([x.flatten(), SPECIAL, halves, halves.nextafter(SPECIAL[-2]), halves * (1 + 2**-11)])
    result, bits = torch.empty_like(x), torch.empty(x.shape, dtype=torch.int16)
    for dtype in (torch.half, torch.bfloat16):
        built(x, result, bits, len(x), dtype == torch.half)
        wanted = x.to(dtype)
        assert torch.equal(result.nan_to_num(0.5), wanted.float().nan_to_num(0.5))
        numbers = ~x.isnan()
        assert torch.equal(bits[numbers], wanted.view(torch.int16)[numbers])


@pytest.mark.slow
@named("moments.cpp")
def test_moments_do_not_cancel(built: Run) -> None:
    x = 1e4 + drawn(4000)
    out = torch.empty(3, 2, dtype=torch.float64)
    built(x, out, 4000)
    close(out[:, 0], x.double().mean().expand(3), 1e-6)
    close(out[:, 1], (x.double() - x.double().mean()).square().sum().expand(3), 1e-3)


@pytest.mark.slow
@named("parallel.cpp")
def test_a_parallel_loop_covers_each_index_once(built: Run) -> None:
    for count, grain, threads in ((0, 1, 2), (1, 4, 3), (1001, 7, 4)):
        out = torch.zeros(max(count, 1))
        built(out, count, grain, threads)
        assert torch.equal(out[:count], torch.ones(count))


@pytest.mark.slow
@named("simd.cpp")
def test_vectors_load_and_add_up(built: Run) -> None:
    x, out = drawn(33)[1:], torch.empty(9)
    built(x, out)
    close(out[0], x.double().sum(), 1e-5)
    assert torch.equal(out[1:], x[:1].expand(8))


@pytest.mark.slow
@named("group_norm_means.cpp")
def test_group_norm_from_moments(built: Run) -> None:
    x, weight, bias, out = drawn(6, 50), drawn(6), drawn(6) + 1, torch.empty(6, dtype=torch.float64)
    built(x, weight, bias, out, 6, 50, 2)
    close(out, F.group_norm(x[None].double(), 2, weight.double(), bias.double())[0].mean(1))


@pytest.mark.slow
@named("channel_sums.cpp")
def test_moments_of_every_channel(built: Run) -> None:
    y, out = drawn(2, 3, 1037) + 5, torch.empty(2, 3, 2, dtype=torch.float64)
    built(y, out, 2, 3, 1037)
    wanted = F.relu(y).double()
    close(out[..., 0], wanted.mean(-1))
    close(out[..., 1], wanted.var(-1, correction=0) * 1037, 1e-5)


@pytest.mark.slow
@named("direct_conv.cpp")
def test_moments_of_a_convolution(built: Run) -> None:
    x, weight, bias = drawn(2, 7, 7, 7), drawn(5, 2, 3, 3, 3), drawn(5)
    out = torch.empty(5, 2, dtype=torch.float64)
    built(x, weight, bias, out, 2, 7, 5)
    wanted = F.hardswish(F.conv3d(x[None].double(), weight.double(), bias.double()))[0].flatten(1)
    close(out[:, 0], wanted.mean(1), 1e-5)
    close(out[:, 1], wanted.var(1, correction=0) * wanted.shape[1], 1e-5)


# ---- on a CUDA device -------------------------------------------------------------------------------

MISSING = backends.of("cuda").missing()
gpu = [pytest.mark.gpu, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]


@pytest.mark.slow
@pytest.mark.parametrize("source", sorted(LAUNCHERS.glob("*.cu")), ids=lambda path: path.name)
def test_a_launcher_compiles(source: Path) -> None:
    if toolchain.nvcc() is None:
        pytest.skip("no nvcc")
    command = [toolchain.nvcc() or "", "-arch=sm_90a", "-cubin", "-std=c++17", "-I", str(INCLUDE), "-o", "/dev/null"]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestOnCuda:
    pytestmark = gpu

    @named("activation.cu")
    def test_activations(self, built: Run) -> None:
        x = torch.cat([4 * drawn(24), SPECIAL])
        out = torch.empty(3, 32, device="cuda")
        built(x.cuda(), out, 32)
        close(out, torch.stack([F.relu(x), F.hardswish(x), x]))

    @named("reduce.cu")
    def test_reductions(self, built: Run) -> None:
        x, out = drawn(256), torch.empty(770, device="cuda")
        built(x.cuda(), out)
        close(out[:256], x.view(8, 32).sum(1).repeat_interleave(32), 1e-5)
        close(out[256:512], x.view(8, 8, 4).sum(1).repeat(1, 8).flatten(), 1e-5)
        close(out[512:768], x.view(32, 8).sum(1).repeat_interleave(8), 1e-5)
        close(out[768:], torch.stack([x.max(), x.min()]))

    @named("vector.cu")
    def test_vectors_of_a_row_that_starts_anywhere(self, built: Run) -> None:
        x = drawn(64).cuda()
        for start, count in ((0, 64), (1, 63), (3, 10), (2, 1)):
            out = torch.zeros(64, device="cuda")
            built(x[start:], out[start:], count)
            assert torch.equal(out[start : start + count], x[start : start + count])

    @named("async_copy.cu")
    def test_copies_arrive(self, built: Run) -> None:
        x, out = drawn(64), torch.empty(2, 64, device="cuda")
        built(x.cuda(), out)
        close(out, x.flip(0).expand(2, -1), 0)

    @named("transpose.cu")
    def test_tiles_are_turned_over(self, built: Run) -> None:
        x, staged, direct = drawn(64, 32), torch.zeros(32, 64, device="cuda"), torch.zeros(32, 64, device="cuda")
        built(x.cuda(), staged, direct)
        wanted = torch.zeros(32, 64)
        wanted[:28, :60] = x[:60, :28].t()
        close(staged, wanted, 0)
        close(direct, wanted, 0)

    @named(("mma.cu", (8, 0)))
    def test_a_split_product_keeps_fp32_accuracy(self, built: Run) -> None:
        a, b, out = drawn(16, 8), drawn(8, 8), torch.empty(16, 8, device="cuda")
        built(a.cuda(), b.cuda(), out)
        close(out, a.double() @ b.double(), 2e-6)

    @named(("wgmma.cu", (9, 0), True))
    def test_a_warpgroup_s_product(self, built: Run) -> None:
        if torch.cuda.get_device_capability() != (9, 0):
            pytest.skip("needs sm_90a")
        a, b, out = drawn(64, 16), drawn(16, 64), torch.empty(64, 64, device="cuda")
        built(a.cuda(), b.cuda(), out)
        close(out, a.half().double() @ b.half().double(), 1e-5)
