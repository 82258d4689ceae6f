"""A large workload goes through judge and bench within a share of the memory, and what is wrong in it is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuner.verification.pieces import SHARE

SCRIPT = """
import resource

import torch

from helpers.problems import write_problem
from tuner import problem
from tuner.backends.cpu import Cpu
from tuner.execution.examination import Examination, Sides
from tuner.measurement.bench import Bench
from tuner.measurement.judging import Judging

torch.set_num_threads(1)
MEMORY, INPUTS = 5 * 2**28, 2**26
Cpu.memory_bytes = Cpu.free_bytes = lambda self: MEMORY
loaded = write_problem(folder, "return torch.sigmoid(x)", "torch.rand(1024, 16384)")
judging = Judging(loaded.path, problem.default_workload(loaded), "cpu", 11, 8.0, folder / "papers")
bench = Bench("cpu", folder / "extensions")
asked = lambda service: lambda request: request.run(service)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sides = Sides(asked(judging), asked(bench), judging.prepare(), folder)
found = {}
for name, change in CANDIDATES.items():
    text = f"import torch\\nclass ModelNew(torch.nn.Module):\\n    def forward(self, x):\\n        {change}\\n"
    path = folder / f"{name}.py"
    path.write_text(text)
    made = Examination(sides, "trial", path, hashlib.sha256(text.encode()).hexdigest())
    made.load()
    made.launch()
    evidence = made.examine(complete=False)
    found[name] = [case.name for case in evidence.cases if not case.ok]
held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(json.dumps({"failed": found, "share": (held - INPUTS) / MEMORY}))
"""
CANDIDATES = {
    "right": "return torch.sigmoid(x)",
    "last": "y = torch.sigmoid(x); y[-1, -1] += (len(x) > 100); return y",
    "wraps": "y = torch.sigmoid(x); f = y.view(-1); f[2**23:] = f[:len(f) - 2**23].clone(); return y",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What becomes of candidates on 64 MB of inputs on a device of 1.3 GB."""
    tests = Path(__file__).parents[1]
    lines = [
        "import hashlib, json, sys, pathlib",
        f"sys.path[:0] = {[str(tests), str(tests.parent)]}",
        f"folder, CANDIDATES = pathlib.Path({str(tmp_path_factory.mktemp('large'))!r}), {CANDIDATES}",
        SCRIPT,
    ]
    ran = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def test_verification_holds_less_than_its_share(found: dict[str, Any]) -> None:
    assert found["share"] < SHARE


def test_a_right_candidate_passes(found: dict[str, Any]) -> None:
    assert found["failed"]["right"] == ["own work"]  # it is PyTorch's own sigmoid


def test_what_is_wrong_in_the_last_sample_alone_is_found(found: dict[str, Any]) -> None:
    assert found["failed"]["last"][0] == "A random affine"


def test_an_index_that_wraps_is_found(found: dict[str, Any]) -> None:
    assert found["failed"]["wraps"][0] == "A random affine"
