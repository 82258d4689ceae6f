"""Trials a minute of a search, compile and verification included, beside one classic `load_inline`.

    python benchmarks/throughput.py [CONFIG] [--trials 200] [--device auto] [-o FILE.json]

Runs `tuner search` into a cache of its own, reads the ledger for the medians, and then compiles the template's first
source once as load_inline is usually used: with PyTorch's headers and a pybind module, in a fresh process and folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tuner import backends, settings, template
from tuner.backends import toolchain
from tuner.errors import TunerError
from tuner.records import Status
from tuner.search.ledger import Ledger
from tuner.space import Point
from tuner.template import render

GOAL = 100  # trials a minute on one NVIDIA H200

CLASSIC = """
import json, sys, time
from torch.utils.cpp_extension import load_inline
source, on_gpu, folder = json.loads(sys.argv[1])
binding = "long long address() { return (long long)&tuner_error; }"
declared = 'extern "C" const char* tuner_error(int);'
began = time.perf_counter()
if on_gpu:
    load_inline("classic", [declared + binding], [source], functions=["address"], build_directory=folder)
else:
    load_inline("classic", [source + binding], functions=["address"], build_directory=folder,
                extra_cflags=["-O3", "-march=native"])
print(time.perf_counter() - began)
"""


def search(config: Path, options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """The whole command, timed, and what its ledger says."""
    arguments = ["--trials", str(options.trials), "--time-budget-s", str(options.seconds), "--json"]
    arguments += ["--final-budget-s", "10", "--baselines", "eager"]
    if options.device:
        arguments += ["--device", options.device]
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "search", str(config), *arguments],
        env={**os.environ, "TUNER_CACHE_DIR": str(cache)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wall_s = time.perf_counter() - began
    if done.returncode != 0:
        raise TunerError(f"tuner search {config} ended with {done.returncode}")
    found = json.loads(done.stdout)[0]
    trials = [trial for path in sorted((cache / ".runs").glob("*.jsonl")) for trial in Ledger(path).read()]
    ok = [trial.evaluation for trial in trials if trial.evaluation.status is Status.OK]
    return {
        "device": found["record"]["environment"]["device_name"],
        "trials": found["trials"],
        "search_s": found["seconds"],
        "trials_per_minute": found["trials"] / found["seconds"] * 60,
        "wall_s": wall_s,
        "ok": len(ok),
        "compile_s": statistics.median(evaluation.compile_s for evaluation in ok),
        "run_s": statistics.median(evaluation.run_s for evaluation in ok),
    }


def classic(config: Path, wanted_device: str | None) -> float:
    """Seconds that one ordinary load_inline of the template's first source takes."""
    wanted = settings.load(config, {"device": wanted_device})
    kernel = template.find(wanted.template, Path.cwd())
    on_gpu = backends.resolve(wanted.device) != "cpu"
    variant = next(v for v in kernel.variants if v.device == ("cuda" if on_gpu else "cpu"))
    point = Point(variant.name, tuple((knob.name, knob.default) for knob in variant.knobs))
    source = render.kernel_source(kernel, variant, point)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", CLASSIC, json.dumps([source, on_gpu, folder])],
            env=toolchain.environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    if done.returncode != 0:
        raise TunerError(f"the classic load_inline failed: {done.stderr.strip().splitlines()[-1][:300]}")
    return float(done.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=Path(__file__).parent.parent / "configs/gn_mean.yaml")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=100, help="of the search at most")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu; default: the config's")
    parser.add_argument("-o", "--output", type=Path, help="also as JSON")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as cache:
            found = search(options.config, options, Path(cache))
        found["classic_s"] = classic(options.config, options.device)
    except TunerError as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 2
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{options.config.name} on {found['device']}\n")
    print("| | |\n|---|---|")
    print(f"| trials | {found['trials']} ({found['ok']} right) |")
    print(f"| trials a minute, compile and verification included | {found['trials_per_minute']:.1f} |")
    print(f"| search | {found['search_s']:.1f} s |")
    print(f"| the whole command, final included | {found['wall_s']:.1f} s |")
    print(f"| compile, median | {found['compile_s']:.2f} s |")
    print(f"| verification and timing, median | {found['run_s']:.2f} s |")
    print(f"| one classic load_inline with PyTorch's headers | {found['classic_s']:.1f} s |")
    if "H200" in found["device"]:
        reached = found["trials_per_minute"] >= GOAL
        print(f"\nGoal: at least {GOAL} trials a minute: {'reached' if reached else 'not reached'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
