"""The families of include/families on the CPU: chains of operations at the default knobs, beside eager PyTorch.

    python benchmarks/families_cpu.py [--only REGEX] [--threads 2] [--dtype float32] [KNOB=VALUE ...]

Every chain is a functor written by hand in benchmarks/families/chains.cpp, built as a candidate is; its result is
compared with PyTorch's. A time is the median of wall times, taken in turns; both allocate their results.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from family_case import SPACES

from tuner.backends import toolchain

FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-pthread", "-I", str(SPACES.parent))
SOURCE = Path(__file__).parent / "families" / "chains.cpp"
C_TYPES = {torch.float32: "float", torch.float16: "half", torch.bfloat16: "bfloat16"}
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
TURNS, CALLS = 5, 5
Reference = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Chain:
    """`sizes` is what the family's launcher takes, `shape` that of the tensors, `operands` that of scale and bias."""

    family: str
    name: str
    shape: tuple[int, ...]
    operands: tuple[int, ...]
    sizes: tuple[int, ...]
    reference: Reference


def _max_pool(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(F.relu(x * scale + bias), 2)


def _mean_pool(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.avg_pool3d(torch.clamp(x * scale + bias, -1.0, 1.0), 3, 2, 1)


CHAINS = (
    Chain("map", "BIAS_RELU_HARDSWISH", (16, 64, 56, 56), (64, 1, 1), (16 * 64, 56 * 56),
          lambda x, y, s, b: F.hardswish(F.relu(x + b))),
    Chain("map", "BIAS_GELU_TIMES", (1024, 3072), (3072,), (1024, 3072), lambda x, y, s, b: F.gelu(x + b) * y),
    Chain("rows", "LAYER_NORM_GELU", (4096, 768), (768,), (4096, 768),
          lambda x, y, s, b: F.gelu(F.layer_norm(x, (768,), s, b))),
    Chain("rows", "GELU_SOFTMAX", (2048, 1500), (1,), (2048, 1500), lambda x, y, s, b: F.gelu(x).softmax(-1)),
    Chain("rows", "MSE", (1024, 3072), (1,), (1, 1024 * 3072), lambda x, y, s, b: F.mse_loss(x, y)),
    Chain("columns", "SOFTMAX_SIGMOID", (16, 64, 56, 56), (1,), (16, 64, 56 * 56),
          lambda x, y, s, b: torch.sigmoid(x.softmax(1))),
    Chain("columns", "MIN_TANH_TANH", (16, 64, 56, 56), (1,), (16, 64, 56 * 56),
          lambda x, y, s, b: torch.tanh(torch.tanh(x.amin(1)))),
    Chain("windows", "RELU_MAX_POOL", (16, 64, 56, 56), (64, 1, 1), (16 * 64, 1, 56, 56, 1, 28, 28), _max_pool),
    Chain("windows", "CLAMP_MEAN_POOL", (4, 32, 16, 40, 40), (32, 1, 1, 1), (4 * 32, 16, 40, 40, 8, 20, 20),
          _mean_pool),
    Chain("scan", "MASKED_CUMSUM", (1024, 3072), (1,), (1024, 3072, 1), lambda x, y, s, b: (x * y).cumsum(1)),
)  # fmt: skip


def knobs_of(family: str, given: Mapping[str, int]) -> dict[str, int]:
    """The family's defaults, those that are given aside."""
    if str(SPACES) not in sys.path:
        sys.path.insert(0, str(SPACES))
    knobs = getattr(importlib.import_module("cpu_space"), f"{family}_knobs")()
    return {knob.name: given.get(knob.name, int(knob.default)) for knob in knobs}


def built(chain: Chain, dtype: torch.dtype, knobs: Mapping[str, int]) -> ctypes.CDLL:
    names = [line.split()[1:3] for line in SOURCE.read_text().splitlines() if re.match(r"#define [A-Z_]+ \d", line)]
    number = dict(names)[chain.name]
    defines = [f"#define TUNER_DTYPE {C_TYPES[dtype]}", f"#define CHAIN {number}"]
    defines += [f"#define {name.upper()} {value}" for name, value in knobs.items()]
    return toolchain.build("\n".join([*defines, SOURCE.read_text()]), FLAGS)


def times_ms(calls: Mapping[str, Callable[[], torch.Tensor]]) -> dict[str, float]:
    """Median of each, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            call()
            for _ in range(CALLS):
                began = time.perf_counter()
                call()
                taken[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(chain: Chain, dtype: torch.dtype, knobs: Mapping[str, int]) -> dict[str, float]:
    """Milliseconds of both. Raises ValueError where the results differ."""
    library, draw = built(chain, dtype, knobs), torch.Generator().manual_seed(0)
    x, y = (torch.randn(chain.shape, generator=draw).to(dtype) for _ in range(2))
    scale, bias = (torch.randn(chain.operands, generator=draw).to(dtype) for _ in range(2))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, y, scale, bias)]
    sizes, channels = (ctypes.c_longlong * len(chain.sizes))(*chain.sizes), ctypes.c_longlong(chain.operands[0])

    def eager() -> torch.Tensor:
        return chain.reference(x, y, scale, bias)

    wanted = eager()

    def ours() -> torch.Tensor:
        result = torch.empty_like(wanted)
        library.run(*pointers, ctypes.c_void_p(result.data_ptr()), sizes, channels)
        return result

    exact = chain.reference(*(t.double() for t in (x, y, scale, bias)))
    error = float((ours().double() - exact).norm() / exact.norm())
    if not error <= TOLERANCES[dtype]:
        raise ValueError(f"{chain.family} {chain.name}: error {error:.1e}")
    return times_ms({"ours": ours, "eager": eager})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("knobs", nargs="*", help="instead of a default, KNOB=VALUE")
    parser.add_argument("--only", default="", help="chains whose `family NAME` matches")
    parser.add_argument("--threads", type=int, default=2, help="of both")
    parser.add_argument("--dtype", default="float32", choices=[str(d).removeprefix("torch.") for d in C_TYPES])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    given = {name: int(value) for name, _, value in (text.partition("=") for text in options.knobs)}
    print("| family | chain | ms | eager ms | eager / ours |\n|---|---|--:|--:|--:|")
    for chain in CHAINS:
        if re.search(options.only, f"{chain.family} {chain.name}"):
            knobs = knobs_of(chain.family, {**given, "threads": options.threads})
            ms = measure(chain, getattr(torch, options.dtype), knobs)
            name = chain.name.lower().replace("_", " ")
            print(
                f"| {chain.family} | {name} | {ms['ours']:.2f} | {ms['eager']:.2f} | {ms['eager'] / ms['ours']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
