"""Fills Inductor's cache for the compiled baselines of problems, several at once and nothing timed.

A baseline that is warmed up in a search holds the device while Inductor compiles, most of a minute for some. With its
kernels in the cache that takes seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuner import backends, problem
from tuner.backends import toolchain
from tuner.measurement.baselines import Baseline


def warm(paths: Sequence[Path], ways: Sequence[str], device: str, cache: Path, jobs: int, limit_s: float) -> None:
    """Warm up a compiled way for each problem, `jobs` at once; one that fails fails again when it counts.

    Several devices, with commas, take turns. Not max-autotune, which measures as it warms up: beside others it would
    choose otherwise. What Triton has chosen by measuring is forgotten.
    """
    compiled = [way for way in ways if way.startswith("compile")][:1]  # the others share its kernels
    devices = device.split(",")

    def one(number: int, path: Path) -> None:
        mark = cache / f"{hashlib.sha256(path.read_bytes()).hexdigest()}.warm"
        if mark.exists():
            return
        began = time.monotonic()
        command = [sys.executable, __file__, str(path), *compiled, "--device", devices[number % len(devices)]]
        environment = {**os.environ, **toolchain.environment(), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        try:
            code = subprocess.run(command, env=environment, capture_output=True, timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            code = None
        if code == 0:
            mark.touch()
        said = "warm" if code == 0 else "left cold"
        print(f"{path.stem}: {said} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    cache.mkdir(parents=True, exist_ok=True)
    if compiled:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(one, range(len(paths)), paths))
    for choice in cache.rglob("*.best_config"):
        choice.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", type=Path)
    parser.add_argument("way")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    loaded = problem.load(options.problem)
    workload = problem.default_workload(loaded)
    Baseline(options.problem, workload, backends.resolve(options.device), 0, options.way).warm()
    return 0


if __name__ == "__main__":
    sys.exit(main())
