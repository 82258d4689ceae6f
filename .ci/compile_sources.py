"""Compile every CUDA source as it is, and rendered at several knob settings, where there is an nvcc."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner import problem, template
from tuner.backends import toolchain
from tuner.space import Point
from tuner.template import Template, Variant, render

POINTS = 4  # random knob settings a variant, beside its defaults
H200 = {"device": "cuda", "cores": 132, "shared_memory_per_block": 232448, "capability": (9, 0)}
ROOT = Path(__file__).resolve().parent.parent


def compile_one(job: tuple[str, Path, str]) -> str | None:
    """What nvcc complained of, or None."""
    name, source, architecture = job
    command = [toolchain.nvcc() or "nvcc", "-std=c++17", f"-arch={architecture}", "-cubin", "-o", "/dev/null"]
    done = subprocess.run(
        [*command, "-I", str(ROOT / "kernel_templates/include"), str(source)], capture_output=True, text=True
    )
    return None if done.returncode == 0 else f"{name}: {done.stderr.strip()[:2000]}"


def points(kernel: Template, variant: Variant, rng: random.Random) -> list[Point]:
    """Random valid points for the problem's own workload on an H200."""
    workload = problem.default_workload(problem.load(kernel.problem))
    space = kernel.space("cuda", kernel.facts(workload.init, workload.shapes, H200), [variant.name])
    found: list[Point] = []
    while len(found) < POINTS:
        drawn = Point(variant.name, tuple((k.name, rng.choice(k.choices)) for k in variant.knobs))
        valid = space.nearest(drawn, lambda point: point not in found)
        if valid is None:
            break
        found.append(valid)
    return found


def main() -> int:
    if toolchain.nvcc() is None:
        print("no nvcc here: CUDA sources were not compiled")
        return 0
    rng = random.Random(0)
    jobs: list[tuple[str, Path, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in template.shipped_names():
            kernel = template.load(template.shipped_folder() / name)
            for variant in (v for v in kernel.variants if v.device == "cuda"):
                low = "sm_{}{}".format(*max(variant.minimum, (8, 0))) + ("a" if variant.exact else "")
                for architecture in sorted({low, low if variant.exact else "sm_90"}):
                    title = f"{name}/{variant.source} {architecture}"
                    jobs.append((title, kernel.folder / variant.source, architecture))
                for i, point in enumerate(points(kernel, variant, rng)):
                    path = Path(folder, f"{name}-{variant.name}-{i}.cu")
                    path.write_text(render.kernel_source(kernel, variant, point))
                    jobs.append((f"{name} {point}", path, low if variant.exact else "sm_90"))
        jobs += [(str(s.relative_to(ROOT)), s, "sm_80") for s in sorted(ROOT.glob("examples/**/*.cu"))]
        with ThreadPoolExecutor(2) as pool:
            complaints = [complaint for complaint in pool.map(compile_one, jobs) if complaint]
    for complaint in complaints:
        print(complaint)
    print(f"nvcc: {len(jobs) - len(complaints)} of {len(jobs)} sources compiled")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
