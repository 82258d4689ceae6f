"""The shared memory that constraints count is what the headers count, at many points; a host compiler says so."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import shipped
from helpers.shipped import H200, KERNELS

from tuner.backends import toolchain
from tuner.space import Facts, Point
from tuner.template import Template, Variant, render
from tuner.template.shared import inline_includes

POINTS = 40  # drawn a variant
STATIC_BYTES = 48 * 1024  # of shared memory, which a kernel has without asking for more
CONVOLUTIONS = {"launch_staged": "Staged", "launch_walking": "Walking", "launch_plain": "Plain"}
LAYOUTS = {"Staged": "conv3d_mma", "Walking": "conv3d_wgmma", "Plain": "conv3d_simt"}


def named(name: str) -> Template:
    return next(kernel for kernel in KERNELS if kernel.name == name)


def drawn(kernel: Template, variant: Variant) -> list[Point]:
    rng = random.Random(f"{kernel.name} {variant.name} layouts")
    return [shipped.default(variant), *(shipped.drawn(variant, rng) for _ in range(POINTS))]


def counted(
    variant: Variant, header: str, points: Sequence[Point], count: Callable[[Point], str], folder: Path
) -> list[int]:
    """What the C++ expression `count(point)` is with the header's text compiled for each point."""
    parts, calls = ["#include <cstdio>\n"], []
    for i, point in enumerate(points):
        defines = render.defines(variant, point.knobs, header)
        names = re.findall(r"^#define (\w+)", defines + header, re.MULTILINE)
        undone = "".join(f"#undef {name}\n" for name in dict.fromkeys(names))
        body = f"long long counted() {{ return {count(point)}; }}"
        parts.append(f"{defines}namespace p{i} {{\n{header}\n{body}\n}}\n{undone}")
        calls.append(f'std::printf("%lld\\n", p{i}::counted());')
    source, program = folder / "counted.cpp", folder / "counted"
    source.write_text("".join(parts) + f"int main() {{ {' '.join(calls)} }}\n")
    subprocess.run([*toolchain.compiler(), "-std=c++17", "-O0", "-o", str(program), str(source)], check=True)
    return [int(line) for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()]


def constraint(variant: Variant, name: str) -> Callable[[Point, Facts], bool]:
    (found,) = [c for c in variant.constraints if c.name == name]
    return lambda point, facts: found.allows(SimpleNamespace(**point.knobs), facts)


def convolutions() -> list[Any]:
    """Every variant whose source launches one of the convolutions that stage their input."""
    found = []
    for kernel in KERNELS:
        for variant in kernel.variants:
            text = (kernel.folder / variant.source).read_text()
            call = re.search(rf"({'|'.join(CONVOLUTIONS)})<((?:\d+, )+)\w+>", text)
            if call:
                layout = CONVOLUTIONS[call[1]]
                sizes = call[2].rstrip(", ")
                fixed = "".join(re.findall(r"^#define CHANNEL_TILES \d+\n(?!#endif)", text, re.MULTILINE))
                found.append(pytest.param(kernel, variant, layout, sizes, fixed, id=f"{kernel.name}-{variant.name}"))
    return found


@pytest.mark.parametrize(("kernel", "variant", "layout", "sizes", "fixed"), convolutions())
def test_a_convolution_is_allowed_the_bytes_that_it_takes_and_not_one_less(
    kernel: Template, variant: Variant, layout: str, sizes: str, fixed: str, needs_compiler: None, tmp_path: Path
) -> None:
    include = kernel.folder.parent / "include" / "convolution"
    header = fixed + inline_includes(include / f"{LAYOUTS[layout]}_layout.cuh").replace("#pragma once\n", "")
    workload, points = shipped.own(kernel), drawn(kernel, variant)
    (shape,) = workload.shapes
    in_channels, out_channels, taps = workload.init[:3]

    def count(point: Point) -> str:
        knobs = point.knobs
        numbers = [in_channels, out_channels, taps, *shape[2:], knobs["tile_d"], knobs["tile_h"]]
        conv = f"conv3d(nullptr, nullptr, nullptr, {', '.join(map(str, numbers))})"
        return f"[](Conv3d c) {{ return {layout}<{sizes}>::shared_bytes(c, c.part_d, c.part_h); }}({conv})"

    allows = constraint(variant, "shared memory")
    for point, size in zip(points, counted(variant, header, points, count, tmp_path), strict=True):
        # A multiprocessor's memory is 1 KiB more than a block may have, and each block takes 1 KiB beside its own.
        enough = int(point.knobs["min_blocks"]) * (size + 1024) - 1024
        for limit, allowed in ((enough, True), (enough - 1, False)):
            facts = kernel.facts(workload.init, workload.shapes, {**H200, "shared_memory_per_block": limit})
            assert allows(point, facts) is allowed, f"{size} bytes: {point}"


@pytest.mark.parametrize(
    "variant", [v for v in named("gn_min_bias").variants if v.device == "cuda"], ids=lambda v: v.name
)
def test_a_block_s_minima_fit_its_static_memory(variant: Variant, needs_compiler: None, tmp_path: Path) -> None:
    kernel = named("gn_min_bias")
    header = inline_includes(kernel.folder / "group_min_layout.hpp").replace("#pragma once\n", "")
    points, workload = drawn(kernel, variant), shipped.own(kernel)
    facts = kernel.facts(workload.init, workload.shapes, H200)
    allows = constraint(variant, "minima fit 48 KB")
    sizes = counted(variant, header, points, lambda point: "SHARED_BYTES", tmp_path)
    for point, size in zip(points, sizes, strict=True):
        assert allows(point, facts) is (size <= STATIC_BYTES), f"{size} bytes: {point}"
    groups = counted(variant, header, points, lambda point: "GROUPS", tmp_path)  # which the host counts slices by
    assert groups == [int(p.knobs["block_size"]) // int(p.knobs["lanes"]) for p in points]


def test_a_block_s_tile_fits_its_static_memory(needs_compiler: None, tmp_path: Path) -> None:
    kernel = named("relu_gn")
    variant = kernel.variant("fused_cuda")
    header = inline_includes(kernel.folder / "tile_layout.hpp").replace("#pragma once\n", "")
    points, workload = drawn(kernel, variant), shipped.own(kernel)
    facts = kernel.facts(workload.init, workload.shapes, H200)
    allows = constraint(variant, "tile<=32KiB")
    sizes = counted(variant, header, points, lambda point: f"scratch_bytes({point.knobs['vector_width']})", tmp_path)
    staged = counted(variant, header, points, lambda point: f"staged({point.knobs['vector_width']})", tmp_path)
    for point, size, in_memory in zip(points, sizes, staged, strict=True):
        if allows(point, facts):
            assert size <= STATIC_BYTES, f"{size} bytes: {point}"
        elif in_memory:
            assert size > STATIC_BYTES, f"{size} bytes: {point}"
