"""Simulated search spaces for replaying searches: cost models of kernels, with the cliffs that measured ones have.

    python benchmarks/simulated.py FOLDER

Writes gemm.csv, stencil.csv and dedispersion.csv, in the format that replay.py reads. Nobody measured these times: they
are computed from occupancy, waves, traffic and instruction counts of an imagined GPU, with a reproducible roughness of
some per cent on each point, and points that need more registers or shared memory than there are fail. They guard
a sampler against being fitted to the few recorded spaces at hand.
"""

from __future__ import annotations

import csv
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

SMS, WARPS, REGISTERS, SHARED, BANDWIDTH, CLOCK = 82, 48, 65_536, 100_000, 9.0e8, 1.6e6  # the last two: per ms
Row = dict[str, int]


def _occupancy(threads: int, registers: int, shared: int) -> float:
    """Blocks on a multiprocessor at once; 0 where one does not fit."""
    warps = math.ceil(threads / 32)
    if registers > 255 or threads > 1024:
        return 0
    return min(16.0, WARPS // warps, REGISTERS // (warps * 32 * max(registers, 24)), SHARED // max(shared, 1))


def _time(blocks: int, threads: int, resident: float, cycles: float, traffic: float, parallel: float) -> float:
    """ms: whole waves of blocks, the slower of arithmetic (`cycles` a thread) and memory (`traffic` in bytes).

    `parallel` is what a thread has in flight by itself, which hides latency as more warps do.
    """
    waves = math.ceil(blocks / (SMS * resident))
    busy = min(1.0, math.pow(resident * threads / 32 * parallel / 26, 0.7))
    compute = waves * resident * math.ceil(threads / 32) * 32 * cycles / (128 * CLOCK * busy)
    memory = traffic / (BANDWIDTH * min(1.0, busy * 1.3))
    return math.sqrt(math.hypot(compute**2, memory**2)) + 0.004


def _gemm(k: Row) -> float | None:
    m, n, k_step, tm, tn, vector = k["mwg"], k["nwg"], k["kwg"], k["mdim"], k["ndim"], k["vw"]
    if m % (tm * vector) or n % (tn * vector) or (tm * tn) % 32:
        return None
    threads, rows, columns = tm * tn, m // tm, n // tn
    staged = (m if k["sa"] else 0) + (n if k["sb"] else 0)
    shared = staged * k_step * 4 * (1 + k["buffers"])
    registers = 22 + rows * columns + (rows + columns) * (1 + k["buffers"]) + 4 * k["unroll"]
    resident = _occupancy(threads, registers, shared)
    if not resident:
        return math.inf
    blocks = math.ceil(2048 / m) * math.ceil(2048 / n)
    loads = (rows + columns) / vector * (1 + 0.9 * (not k["sa"]) + 0.7 * (not k["sb"])) + (k["sa"] and tm % 16 == 0) * 1
    loop = (6 / k["unroll"] + (30 - 14 * k["buffers"]) * (staged > 0) / k_step) * (1 + 0.02 * k["unroll"])
    cycles = 2048 * (rows * columns + 1.6 * loads + loop)
    again = 1 + 0.4 * (not k["sa"]) + 0.5 * (not k["sb"])
    traffic = 2048 * 2048 * 4 * (2048 / m + 2048 / n) * 0.35 * again * (1 + 0.5 * (vector < 4))
    return _time(blocks, threads, resident, cycles, traffic, 1 + 0.2 * rows * columns / 4)


def _stencil(k: Row) -> float | None:
    x, y, tx, ty, steps = k["block_x"], k["block_y"], k["tile_x"], k["tile_y"], k["steps"]
    if x * y > 1024 or x * y < 32 or x * tx <= 2 * steps or y * ty <= 2 * steps:
        return None
    width, height = x * tx, y * ty
    shared = width * height * 4 * (2 + k["sh_power"])
    registers = 20 + 3 * tx * ty + (tx * ty * k["unroll"]) // 2
    resident = _occupancy(x * y, max(registers, 0), shared)
    if not resident:
        return math.inf
    if k["blocks_per_sm"]:  # what a launch bound asks for, spilling where there are too few registers
        wanted = REGISTERS // (k["blocks_per_sm"] * math.ceil(x * y / 32) * 32)
        spilled = max(0, registers - wanted) * 0.6
    else:
        spilled = 0.0
    inner = (width - 2 * steps) * (height - 2 * steps)
    blocks = math.ceil(4096 * 4096 / inner)
    conflicts = 1.0 if x >= 32 else 32 / x * 0.55
    cycles = steps * (tx * ty * (11 * conflicts + 4 / k["unroll"] + 3 * (not k["sh_power"])) + 24 + spilled * 4)
    traffic = blocks * width * height * 4 * (2 + 0.3 * (x < 32) + 1.2 * (x < 16))
    return _time(blocks, x * y, resident, cycles, traffic, 1 + 0.1 * tx * ty) * 60 / steps


def _dedispersion(k: Row) -> float | None:
    x, y, tx, ty = k["block_x"], k["block_y"], k["tile_x"], k["tile_y"]
    if x * y > 1024 or x * y < 32 or 1536 % k["unroll"]:
        return None
    registers = 18 + 2 * tx * ty + min(k["unroll"], 8) * tx
    resident = _occupancy(x * y, registers, 16)
    if not resident:
        return math.inf
    blocks = math.ceil(24_576 / (x * tx)) * math.ceil(2048 / (y * ty))
    coalesced = 1.0 if k["tile_stride_x"] or tx == 1 else 1 + 0.35 * math.log2(tx)
    reuse = (y * ty) ** (0.75 if k["tile_stride_y"] else 0.62)
    traffic = 24_576 * 2048 * 1536 / 8 / reuse * coalesced * (0.8 if k["read_only"] else 1)
    cycles = 1536 * (tx * ty * 3 + 5 * ty * coalesced / (1.5 if k["read_only"] and y > 4 else 1) + 9 / k["unroll"])
    cycles *= 1 + 0.3 * (k["unroll"] > 32)
    return _time(blocks, x * y, resident, cycles, traffic, 1 + 0.12 * tx * ty)


SPACES: dict[str, tuple[Callable[[Row], float | None], dict[str, list[int]]]] = {
    "gemm": (
        _gemm,
        {
            "mwg": [16, 32, 64, 96, 128],
            "nwg": [16, 32, 64, 96, 128],
            "kwg": [8, 16, 32],
            "mdim": [4, 8, 16, 32],
            "ndim": [4, 8, 16, 32],
            "vw": [1, 2, 4, 8],
            "sa": [0, 1],
            "sb": [0, 1],
            "unroll": [1, 2, 4, 8],
            "buffers": [0, 1],
        },
    ),
    "stencil": (
        _stencil,
        {
            "block_x": [2, 8, 16, 32, 48, 64, 96, 128, 192, 256],
            "block_y": [1, 2, 4, 8, 16, 32],
            "tile_x": [1, 2, 3, 4, 5, 6, 8, 10],
            "tile_y": [1, 2, 3, 4, 5, 6, 8, 10],
            "steps": [1, 2, 3, 4, 6, 8],
            "unroll": [1, 4],
            "sh_power": [0, 1],
            "blocks_per_sm": [0, 2, 4],
        },
    ),
    "dedispersion": (
        _dedispersion,
        {
            "block_x": [1, 2, 4, 8, 16, 32, 48, 64, 128, 256],
            "block_y": [1, 2, 4, 8, 16, 32, 64],
            "tile_x": [1, 2, 3, 4, 6, 8, 12],
            "tile_y": [1, 2, 4, 6, 8, 12],
            "tile_stride_x": [0, 1],
            "tile_stride_y": [0, 1],
            "unroll": [1, 2, 4, 8, 16, 32, 64],
            "read_only": [0, 1],
        },
    ),
}


def rows(name: str) -> Iterator[list[object]]:
    """The header, then a line for each valid point: its knobs, and its ms or nothing where it fails."""
    cost, knobs = SPACES[name]
    yield [*knobs, "time_ms"]
    for values in itertools.product(*knobs.values()):
        ms = cost(dict(zip(knobs, values, strict=True)))
        if ms is None:
            continue
        rng = random.Random(f"{name} {values}")
        rough = math.exp(rng.gauss(0, 0.02) + (rng.random() < 0.03) * rng.random() * 0.5)
        yield [*values, "" if ms == math.inf else f"{ms * rough:.6g}"]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in SPACES:
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows(name))
        print(f"{folder / name}.csv", flush=True)


if __name__ == "__main__":
    main()
