"""The families of include/families on the GPU: share of the bandwidth measured in the same run, beside PyTorch.

    python benchmarks/families.py [--only REGEX] [--compile REGEX] [--rounds 2] [-o FILE.json]

Every case is a functor written by hand in benchmarks/families/, built as a candidate is. The sweep starts at the
family's default knobs and tries every other choice of each knob alone; each further round does so from the best point.
The default's result and the best one's are compared with PyTorch's. The table has the default, the best, eager and,
for the cases that --compile selects, torch.compile (max-autotune, without CUDA graphs, which would copy the inputs).
A time is the median of device events, taken in turns.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import families_reductions
import families_streams
import torch
from family_case import Case, single_steps

from tuner import backends, template
from tuner.backends import toolchain
from tuner.settings import resolve
from tuner.space import Point
from tuner.template import Variant, render

DEVICE = "cuda:0"
SOURCES = Path(__file__).parent / "families"
CASES: tuple[Case, ...] = (*families_streams.CASES, *families_reductions.CASES)
SWEEP_CALLS, TURNS, CALLS = 7, 6, 5
Run = Callable[[], object]


@dataclass(frozen=True)
class Built:
    """A point's library, or what the compiler said instead."""

    library: Path
    fault: str


def compile_point(case: Case, variant: Variant, point: Point, folder: Path) -> Built:
    """Build the case's source with the point's knobs, by the flags of a candidate."""
    library = Path(tempfile.mkdtemp(dir=folder), "case.so")
    source, text = library.with_name("case.cu"), (SOURCES / case.source).read_text()
    fixed = "".join(f"#define {name} {value}\n" for name, value in case.fixed.items())
    source.write_text(fixed + render.defines(variant, point.knobs, text) + text)
    major, minor = torch.cuda.get_device_capability()
    target = f"{major}{minor}"
    command = [toolchain.nvcc() or "nvcc", "-O3", "-std=c++17", f"-gencode=arch=compute_{target},code=sm_{target}"]
    command += ["--expt-relaxed-constexpr", "-I", str(template.shipped_folder() / "include")]
    command += ["-shared", "-Xcompiler", "-fPIC", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    return Built(library, done.stderr if done.returncode else "")


def launcher(library: Path, arguments: Sequence[Any]) -> Run:
    """Calls `run` with the arguments; raises RuntimeError where it reports an error."""
    loaded = ctypes.CDLL(str(library))
    values = [
        ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor)
        else ctypes.c_void_p(None) if a is None
        else ctypes.c_double(a) if isinstance(a, float)
        else ctypes.c_longlong(a)
        for a in arguments
    ]  # fmt: skip

    def call() -> None:
        code = loaded.run(*values, ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
        if code:
            raise RuntimeError(f"run returned {code}")

    return call


def times_ms(run: Run, calls: int) -> list[float]:
    """Times of `calls` calls by device events."""
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) for start, end in itertools.pairwise(marks)]


def error_of(found: Iterable[torch.Tensor], wanted: Iterable[torch.Tensor]) -> float:
    """The largest relative error in the norm; infinite where one is not finite and the other is."""
    errors = []
    for mine, right in zip(found, wanted, strict=True):
        difference, scale = 0.0, 0.0
        for a, b in zip(mine.flatten().split(2**26), right.flatten().split(2**26), strict=True):
            difference += float((a.double() - b.double()).square().sum())
            scale += float(b.double().square().sum())
        error = (difference / scale) ** 0.5 if scale else difference**0.5
        errors.append(error if error == error else float("inf"))
    return max(errors)


class Sweep:
    """One case: its points, what they took, and what was wrong with them."""

    def __init__(self, case: Case, limits: dict[str, Any]) -> None:
        self.case, self.space = case, case.space(limits)
        self.variant = Variant("run", "cuda", case.source, self.space.branches[0].knobs)
        self.default = self.space.defaults[0]
        self.built: dict[Point, Built] = {}
        self.took: dict[Point, float] = {}
        self.faults: list[str] = []

    @property
    def best(self) -> Point:
        return min(self.took, key=self.took.__getitem__, default=self.default)

    def missing(self) -> list[Point]:
        return [point for point in single_steps(self.space, self.best) if point not in self.built]

    def measure(self) -> None:
        """Times of the built points, each after one call to warm up; the first results are compared."""
        case, inputs = self.case, self.case.inputs()
        wanted = case.results(inputs)
        results = [torch.full_like(w, float("nan")) for w in wanted]
        for point, built in self.built.items():
            if point in self.took or built.fault:
                continue
            try:
                run = launcher(built.library, case.arguments(inputs, results))
                for result in results:
                    result.fill_(float("nan"))
                run()
                torch.cuda.synchronize()
                error = error_of(results, wanted)
                if not error <= case.tolerance:
                    self.faults.append(f"{point}: error {error:.2e}")
                    continue
                self.took[point] = statistics.median(times_ms(run, SWEEP_CALLS))
            except RuntimeError as fault:
                self.faults.append(f"{point}: {fault}")

    def row(self, ceilings: dict[str, float], compiled: bool) -> dict[str, Any]:
        """The default, the best point, eager and compiled, in turns."""
        case, inputs = self.case, self.case.inputs()
        results = [torch.empty_like(w) for w in case.results(inputs)]
        ways: dict[str, Run] = {"eager": lambda: case.reference(*inputs)}
        for name, point in (("default", self.default), ("best", self.best)):
            if point in self.took:
                ways[name] = launcher(self.built[point].library, case.arguments(inputs, results))
        if compiled:
            torch._dynamo.reset()
            fast = torch.compile(case.reference, mode="max-autotune-no-cudagraphs", dynamic=False)
            ways["compile"] = lambda: fast(*inputs)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for run in ways.values():
            times_ms(run, 2)
        for _ in range(TURNS):
            for name, run in ways.items():
                taken[name] += times_ms(run, CALLS)
        medians = {name: statistics.median(times) for name, times in taken.items()}
        floor_ms = case.moved / ceilings[f"{case.ceiling}_gbps"] / 1e6
        return {
            "family": case.family, "case": case.name, "of": case.ceiling, "goal": case.goal, "floor_ms": floor_ms,
            "knobs": str(self.best), "ms": medians, "sweep_ms": {str(point): ms for point, ms in self.took.items()},
            "shares": {name: floor_ms / ms for name, ms in medians.items()}, "faults": self.faults,
        }  # fmt: skip


def table(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as markdown."""
    lines = [
        "| family | case | floor ms | share: best | default | goal | best ms | eager ms | compiled ms | knobs |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        ms, shares = row["ms"], row["shares"]
        cells = [row["family"], row["case"], f"{row['floor_ms']:.3f}"]
        cells += [f"{shares[name]:.3f}" if name in shares else "-" for name in ("best", "default")]
        cells += [f"{row['goal']:.2f} of {row['of']}"]
        cells += [f"{ms[name]:.3f}" if name in ms else "-" for name in ("best", "eager", "compile")]
        lines.append(f"| {' | '.join(cells)} | {row['knobs'].removeprefix('run ')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="cases whose `family name` matches")
    parser.add_argument("--compile", default="^$", help="cases that torch.compile is measured of")
    parser.add_argument("--rounds", type=int, default=2, help="of the sweep")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    environment = resolve.here(DEVICE, toolchain.environment())
    limits = backends.of(DEVICE).limits(environment)
    ceilings = backends.of(DEVICE).ceilings()
    print(f"{torch.cuda.get_device_name()}: " + ", ".join(f"{k} {v:.0f}" for k, v in ceilings.items()), flush=True)
    sweeps = [Sweep(case, limits) for case in CASES if re.search(options.only, case.title)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool, torch.no_grad():
        for _ in range(options.rounds):
            jobs = [
                (sweep, point, pool.submit(compile_point, sweep.case, sweep.variant, point, Path(folder)))
                for sweep in sweeps
                for point in sweep.missing()
            ]
            for sweep, point, job in jobs:
                sweep.built[point] = job.result()
                if sweep.built[point].fault:
                    sweep.faults.append(f"{point}: {sweep.built[point].fault}")
            for sweep in sweeps:
                sweep.measure()
                torch.cuda.empty_cache()
            print(f"{len(jobs)} points measured", file=sys.stderr, flush=True)
        rows = []
        for sweep in sweeps:
            rows.append(sweep.row(ceilings, bool(re.search(options.compile, sweep.case.title))))
            torch.cuda.empty_cache()
            if options.output:
                found = {"device": torch.cuda.get_device_name(), "ceilings": ceilings, "rows": rows}
                options.output.write_text(json.dumps(found, indent=1))
    for row in rows:
        for fault in row["faults"][:3]:
            print(f"{row['family']} {row['case']}: {fault[:600]}", file=sys.stderr)
    print(table(rows))


if __name__ == "__main__":
    main()
