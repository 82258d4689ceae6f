"""Matrix products in fp32 by include/products on the GPU, beside cuBLAS in fp32.

    python benchmarks/products.py [--only REGEX] [--samples 15] [-o FILE.json]

A row is a product; "linear" has a weight that is kept between calls. Its columns: cuBLAS in fp32, the best point of
the knobs, with the weight's pieces kept and cut in every call, the floor (the larger of the bytes of factors and
result and of three half-precision products), and the best point's error over cuBLAS's own, both against float64.
A time is the median of device events with a cold L2, in ms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner import template
from tuner.backends import toolchain
from tuner.template import render
from tuner.template.shared import host_file, inline_includes
from tuner.template.signatures import signatures

DEVICE = "cuda:0"
SOURCES = Path(__file__).parent / "products"
BANDWIDTH, HALF_RATE = 3.3e12, 800e12  # bytes and operations a second
FLUSH_BYTES = 256 * 2**20
Call = Callable[[], torch.Tensor]


class Host:
    """The host functions of include/products, and a kernel for them, as a candidate has them.

    With `few_rows` it is built for sm_90a alone.
    """

    def __init__(self, few_rows: bool = False) -> None:
        self.has_few_rows = few_rows
        folder = template.shipped_folder() / "gn_min_bias"  # any folder finds what is shared
        runtime = Path(render.__file__).with_name("candidate_runtime.py").read_text()
        operator = Path(render.__file__).with_name("candidate_operator.py").read_text()
        self.names: dict[str, Any] = {}
        parts = [
            "import copy, ctypes, functools, hashlib, inspect, math, os, tempfile, weakref\nimport torch\n",
            runtime,
        ]
        parts += ["import torch.nn as nn\n", operator]
        parts += [host_file(folder, host).read_text() for host in ("split_product", "few_rows", "convolution")]
        exec("\n".join(parts), self.names)
        text = inline_includes(SOURCES / ("few_rows.cu" if few_rows else "split_product.cu"))
        known = {name: str(each) for name, each in signatures(text).items() if name != "tuner_error"}
        needs = ((9, 0), True) if few_rows else ((8, 0), False)
        self.kernel = self.names["Kernel"](
            "products", None, "cuda", "", (), torch.float32, {}, text, *needs, signatures=known
        )

    def __getattr__(self, name: str) -> Any:
        return self.names[name]


@dataclass(frozen=True)
class Problem:
    """`batch` products of (m, k) and (k, n). `layout` has a letter a factor: T where it lies transposed in memory."""

    name: str
    m: int
    k: int
    n: int
    batch: int = 1
    layout: str = ""  # "" for a linear layer

    def floor_ms(self) -> float:
        values = self.batch * (
            self.m * self.k + self.k * self.n * (1 if self.layout else 1 / self.batch) + self.m * self.n
        )
        operations = 6 * self.batch * self.m * self.n * self.k
        return 1e3 * max(4 * values / BANDWIDTH, operations / HALF_RATE)


PROBLEMS = (
    Problem("linear", 1024, 8192, 8192),
    Problem("linear", 2048, 8192, 8192),
    Problem("linear", 16384, 4096, 4096),
    Problem("linear", 32768, 1024, 4096),
    Problem("linear", 16384, 4096, 1024),
    Problem("linear", 64, 8192, 8192),
    Problem("linear", 256, 16384, 16384),
    Problem("linear", 128, 16384, 16384),
    Problem("linear", 128, 32768, 32768),
    Problem("matmul", 4096, 4096, 4096, layout="NN"),
    Problem("matmul A^T B", 2048, 8192, 4096, layout="TN"),
    Problem("matmul A B^T", 2048, 8192, 4096, layout="NT"),
    Problem("matmul", 8205, 2949, 5921, layout="NN"),
    Problem("bmm", 512, 1024, 2048, batch=128, layout="NN"),
    Problem("matmul", 256, 524288, 256, layout="NN"),
    Problem("matmul", 32768, 64, 32768, layout="NN"),
)


def factors(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Uniform values in [0, 1); a weight as a linear layer begins with."""
    torch.manual_seed(0)
    p, batch = problem, (problem.batch,) if problem.batch > 1 else ()
    if not p.layout:
        bound = p.k**-0.5
        return torch.rand(p.m, p.k, device=DEVICE), (2 * torch.rand(p.n, p.k, device=DEVICE) - 1) * bound
    a = (
        torch.rand(*batch, p.k, p.m, device=DEVICE).mT
        if p.layout[0] == "T"
        else torch.rand(*batch, p.m, p.k, device=DEVICE)
    )
    b = (
        torch.rand(*batch, p.n, p.k, device=DEVICE).mT
        if p.layout[1] == "T"
        else torch.rand(*batch, p.k, p.n, device=DEVICE)
    )
    return a, b


def points(problem: Problem, host: Host) -> Iterator[tuple[str, Call]]:
    """Every way to compute it, by what it is called; the first is cuBLAS in fp32."""
    a, b = factors(problem)
    weights: tuple[str, ...] = () if problem.layout else ("checked", "fresh")
    yield "fp32", lambda: torch.matmul(a, b if problem.layout else b.t())
    if not problem.layout and problem.m <= 1024 and host.has_few_rows:
        rest = {"calls": 1, "slice_k": 2048, "weights": "fresh"}
        yield "few_rows", lambda: host.split_product(None, host.kernel, "gemm", a, b, scheme="few_rows", **rest)
    slices = [s for s in (2048, 4096, 8192, 16384) if s == 2048 or problem.k > s // 2]
    for calls, slice_k in itertools.product((1, 2), slices):
        knobs = {"scheme": "fp16x3", "calls": calls, "slice_k": slice_k}
        said = f"calls={calls} slice_k={slice_k}"
        if problem.layout:
            yield said, lambda knobs=knobs: host.split_matmul(host.kernel, a, b, **knobs)  # type: ignore[misc]
        for kept in weights:
            model = torch.nn.Module()
            yield (
                f"{said} {kept}",
                lambda model=model, kept=kept, knobs=knobs: host.split_product(  # type: ignore[misc]
                    model, host.kernel, "gemm", a, b, weights=kept, **knobs
                ),
            )


def median_ms(call: Call, samples: int, flush: torch.Tensor) -> float:
    times = []
    call()
    for _ in range(samples):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return float(statistics.median(times[1:]))


def largest_error(y: torch.Tensor, problem: Problem) -> float:
    """Against float64, of up to 2048 rows."""
    a, b = factors(problem)
    rows, wide = slice(0, 2048), b.double() if problem.layout else b.double().t()
    return float((y[..., rows, :].double() - a[..., rows, :].double() @ wide).abs().max())


def measure(problem: Problem, host: Host, samples: int) -> dict[str, Any]:
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=DEVICE)
    found: dict[str, float] = {}
    errors: dict[str, float] = {}
    for said, call in points(problem, host):
        found[said] = median_ms(call, samples, flush)
        errors[said] = largest_error(call(), problem)
        torch.cuda.empty_cache()
    split = {said: ms for said, ms in found.items() if said != "fp32"}
    best = min(split, key=lambda said: split[said])
    return {
        "name": f"{problem.name} {problem.m}x{problem.k}x{problem.n}"
        + (f" x{problem.batch}" if problem.batch > 1 else ""),
        "fp32_ms": found["fp32"],
        "best": best,
        "floor_ms": problem.floor_ms(),
        "error_ratio": errors[best] / errors["fp32"],
        "ms": found,
        "error_ratios": {said: error / errors["fp32"] for said, error in errors.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name this expression finds")
    parser.add_argument("--samples", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA device")
    os.environ |= toolchain.environment()
    host, rows = Host(few_rows=torch.cuda.get_device_capability() == (9, 0)), []
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    print(
        "| product, M x K x N | fp32 | ours | over fp32 | floor | error ratio | knobs | every point, ms (error ratio) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with torch.no_grad():
        for problem in PROBLEMS:
            if not re.search(options.only, f"{problem.name} {problem.m}x{problem.k}x{problem.n}"):
                continue
            row = measure(problem, host, options.samples)
            rows.append(row)
            each = "; ".join(
                f"{s} {ms:.3f} ({row['error_ratios'][s]:.1f})" for s, ms in row["ms"].items() if s != "fp32"
            )
            ours = row["ms"][row["best"]]
            print(
                f"| {row['name']} | {row['fp32_ms']:.3f} | {ours:.3f} | {row['fp32_ms'] / ours:.2f} "
                f"| {row['floor_ms']:.3f} | {row['error_ratio']:.1f} | {row['best']} | {each} |",
                flush=True,
            )
    if options.output:
        options.output.write_text(json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
