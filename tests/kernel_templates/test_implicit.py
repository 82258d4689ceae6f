"""convolution/implicit.cuh: its numbers as its constraints count them, and its results beside PyTorch's on a GPU."""

from __future__ import annotations

import ctypes
import importlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tuner import template
from tuner.backends import toolchain
from tuner.template.shared import shared_modules

INCLUDE = template.shipped_folder() / "include"
# channels (in, out), kernel, stride, padding, dilation, transposed, sizes of the input
CONVOLUTIONS = [
    ((16, 24), (1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1), False, (1, 19, 37)),
    ((3, 10), (3, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1), False, (7, 12, 21)),
    ((12, 40), (1, 1, 5), (1, 1, 2), (0, 0, 2), (1, 1, 1), False, (1, 1, 101)),
    ((20, 64), (1, 3, 3), (1, 2, 2), (0, 2, 1), (1, 2, 1), False, (1, 30, 33)),
    ((8, 16), (1, 4, 3), (1, 1, 1), (0, 0, 2), (1, 1, 3), False, (1, 17, 40)),
    ((9, 33), (1, 3, 3), (1, 1, 1), (0, 0, 1), (1, 1, 1), True, (1, 15, 31)),
    ((16, 32), (1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1), True, (1, 13, 22)),
    ((8, 20), (3, 4, 3), (2, 2, 2), (1, 1, 0), (1, 1, 1), True, (5, 6, 9)),
    ((5, 7), (1, 1, 5), (1, 1, 2), (0, 0, 1), (1, 1, 1), True, (1, 1, 40)),
]
NAMES = ("warpgroups", "tile_depth", "tile_width", "columns", "chunk", "stages", "blocks", "pieces")


def space(which: tuple[Any, ...], whole: bool) -> tuple[Any, Any, Any]:
    """The module of a convolution's knobs, its geometry, and its knobs."""
    channels, kernel, stride, padding, dilation, transposed, sizes = which
    with shared_modules(INCLUDE.parent / "draft"):
        module = importlib.import_module("implicit_space")
    given = dict(channels=channels, kernel=kernel, stride=stride, dilation=dilation, padding=padding)
    geometry = module.Geometry(*given.values(), transposed)
    knobs = module.cuda_knobs("", **given, transposed=transposed, whole=whole, sizes=sizes)
    return module, geometry, knobs


def drawn(knobs: Any, valid: Callable[[Any], bool], rng: random.Random, count: int) -> list[Any]:
    """The defaults where they are valid, and valid points at random."""
    points = [SimpleNamespace(**{knob.name: knob.default for knob in knobs})]
    while len(points) < 2000:
        points.append(SimpleNamespace(**{knob.name: rng.choice(knob.choices) for knob in knobs}))
    return [point for point in points if valid(point)][:count]


def structs(which: tuple[Any, ...], point: Any, number: int = 0) -> str:
    """A geometry and a schedule in C++."""
    channels, kernel, stride, padding, dilation, transposed, _ = which

    def three(values: tuple[int, ...]) -> str:
        return f"{{{', '.join(map(str, values))}}}"

    knobs = "".join(f"  static constexpr int {name} = {value};\n" for name, value in vars(point).items())
    return (
        f"struct G{number} {{\n  static constexpr int in = {channels[0]}, out = {channels[1]};\n"
        f"  static constexpr int kernel[3] = {three(kernel)}, stride[3] = {three(stride)};\n"
        f"  static constexpr int padding[3] = {three(padding)}, dilation[3] = {three(dilation)};\n"
        f"  static constexpr bool transposed = {str(transposed).lower()};\n}};\nstruct S{number} {{\n{knobs}}};\n"
    )


def allowed(module: Any, geometry: Any, whole: bool) -> Callable[[Any], bool]:
    return lambda point: module.fits(geometry, *(getattr(point, name) for name in NAMES), not whole)


@pytest.mark.parametrize("which", CONVOLUTIONS, ids=str)
def test_its_shared_memory_is_counted_as_the_header_does(
    which: tuple[Any, ...], needs_compiler: None, tmp_path: Path
) -> None:
    module, geometry, knobs = space(which, whole=False)
    points = drawn(knobs, allowed(module, geometry, False), random.Random(0), 12)
    assert len(points) == 12
    text = '#include <cstdio>\n#include "convolution/implicit_layout.cuh"\n'
    text += "".join(structs(which, point, k) for k, point in enumerate(points)) + "int main() {\n"
    for k in range(len(points)):
        text += f'  std::printf("%d\\n", ImplicitLayout<G{k}, S{k}>::shared_bytes(true));\n'
    (tmp_path / "count.cpp").write_text(text + "}\n")
    command = [*toolchain.compiler(), "-std=c++17", "-O0", "-I", INCLUDE, "-o", "count", "count.cpp"]
    subprocess.run(list(map(str, command)), check=True, cwd=tmp_path)
    done = subprocess.run([tmp_path / "count"], capture_output=True, text=True, check=True)
    sides = [(p.tile_depth, 64 * p.warpgroups // (p.tile_depth * p.tile_width), p.tile_width) for p in points]
    counted = [
        geometry.shared_bytes(side, p.columns, p.chunk, p.stages, p.pieces, True)
        for side, p in zip(sides, points, strict=True)
    ]
    assert counted == list(map(int, done.stdout.split()))


LAUNCHERS = """
#include "convolution/implicit_sinks.cuh"
struct Least {
  static constexpr int INPUTS = 1, RESULTS = 0, TOTALS = 1;
  using Rounds = RoundsOf<STATE>;
  using Total = float;
  const Element* input[1];
  Element* result[1];
  Total* total[1];
  struct Row { float found; };
  struct Item { float value; };
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE Item item(const Row&, Index, const float (&in)[1]) const { return {in[0]}; }
  TUNER_INLINE float lift(Round<0>, const Row&, Index, const Item& item) const { return item.value; }
  TUNER_INLINE void close(Round<0>, Row& row, const STATE& state) const { row.found = static_cast<float>(FOUND); }
  TUNER_INLINE void results(const Row&, Index, const Item&, float (&)[1]) const {}
  TUNER_INLINE void totals(const Row& row, Total (&out)[1]) const { out[0] = row.found; }
};
extern "C" int run(const float* x, const float* weight, float* kept, float* total, long long samples, long long d,
                   long long h, long long w, long long od, long long oh, long long ow, void* packed,
                   long long packed_bytes, void* stream) {
  const ImplicitCall call{x, weight, kept, samples, {d, h, w}, {od, oh, ow}, packed, packed_bytes};
  Least f{};
  f.total[0] = total;
  return LAUNCH;
}
"""
ENDS = {
    "store": ("SumState", "state.value", "launch_implicit_store<G0, S0>(call, stream)"),
    "columns": ("MinState", "state.value", "launch_implicit_columns<G0, S0, 0, true>(f, call, stream)"),
    "rows": ("SumState", "state.value", "launch_implicit_rows<G0, S0, true>(f, call, 1, stream)"),
}


def convolved(which: tuple[Any, ...], x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    _, _, stride, padding, dilation, transposed, _ = which
    if transposed:
        return torch.nn.functional.conv_transpose3d(x, weight, None, stride, padding, 0, 1, dilation)
    return torch.nn.functional.conv3d(x, weight, None, stride, padding, dilation)


def launch(
    source: Path, x: torch.Tensor, weight: torch.Tensor, kept: torch.Tensor, total: torch.Tensor,
    sizes: tuple[int, ...], packed: torch.Tensor,
) -> None:  # fmt: skip
    """Compiles the source for Hopper, and calls its `run`."""
    library = source.with_suffix(".so")
    command = [toolchain.nvcc() or "nvcc", "-gencode", "arch=compute_90a,code=sm_90a", "-std=c++17", "-O3", "-shared"]
    command += ["-Xcompiler", "-fPIC", "-I", str(INCLUDE), "-o", str(library), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, weight, kept, total)]
    counts = [ctypes.c_longlong(n) for n in sizes]
    memory = [ctypes.c_void_p(packed.data_ptr()), ctypes.c_longlong(packed.numel())]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    assert ctypes.CDLL(str(library)).run(*pointers, *counts, *memory, stream) == 0
    torch.cuda.synchronize()


@pytest.mark.gpu
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("which", CONVOLUTIONS, ids=str)
def test_it_computes_what_pytorch_does(which: tuple[Any, ...], end: str, tmp_path: Path) -> None:
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("Hopper's products")
    channels, kernel, *_, transposed, sizes = which
    whole = end == "columns"
    module, geometry, knobs = space(which, whole)
    if whole and geometry.columns > 128:
        pytest.skip("a block does not hold all channels")
    state, found, call = ENDS[end]
    generator = torch.Generator(device="cuda").manual_seed(0)
    shape = channels if transposed else channels[::-1]
    weight = torch.randn(*shape, *kernel, device="cuda", generator=generator)
    x = torch.randn(3, channels[0], *sizes, device="cuda", generator=generator)
    x[0, 0, 0, 0, 5], x[1, 1, 0, -1, -1], x[2, -1, -1, -1, 3] = float("inf"), float("nan"), float("-inf")
    exact = convolved(which, x.double().cpu(), weight.double().cpu()).cuda()
    points = drawn(knobs, allowed(module, geometry, whole), random.Random(str(which)), 3)
    assert points
    for number, point in enumerate(points):
        source = tmp_path / f"run{number}.cu"
        text = LAUNCHERS.replace("STATE", state).replace("FOUND", found).replace("LAUNCH", call)
        source.write_text(structs(which, point) + text)
        kept = torch.full(exact.shape, 7.0, device="cuda")
        reduced = (3, 1, *exact.shape[2:]) if whole else (3, channels[1])
        total = torch.full(reduced, 7.0, device="cuda")
        packed = torch.empty(32 << 20, dtype=torch.uint8, device="cuda")
        launch(source, x, weight, kept, total, (3, *sizes, *exact.shape[2:]), packed)
        tolerance = 2e-3 if point.pieces == 1 else 1e-5
        scale = exact[exact.isfinite()].abs().max().item()
        torch.testing.assert_close(kept.double(), exact, rtol=0, atol=tolerance * scale, equal_nan=True)
        if end == "columns":
            least = exact.amin(1, keepdim=True)
            torch.testing.assert_close(total.double(), least, rtol=0, atol=tolerance * scale, equal_nan=True)
        if end == "rows":
            whole_sum = exact.sum((2, 3, 4))
            slack = tolerance * scale * exact[0, 0].numel()
            torch.testing.assert_close(total.double(), whole_sum, rtol=0, atol=slack, equal_nan=True)
