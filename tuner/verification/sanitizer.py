"""compute-sanitizer on a candidate. Run as a module, this file is what the tool watches."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from tuner import backends, problem
from tuner.problem import sizes
from tuner.records import CaseResult, Workload

TIMEOUT_S = 150.0
FOUND = 77  # the exit code by which the tool says that it found something


def sanitize(loaded: problem.Problem, workload: Workload, file: Path, torch_device: str) -> list[CaseResult]:
    """The checks that apply to a device, on one forward on a small workload; a note where the tool is missing."""
    checks = backends.of(torch_device).sanitizers
    if not checks:
        return []
    small = sizes.odd(loaded, workload.with_batch(2))
    tool = shutil.which("compute-sanitizer")
    return [_sanitized(tool, check, loaded.path, small, file, torch_device) for check in checks]


def _sanitized(tool: str | None, check: str, path: Path, workload: Workload, file: Path, device: str) -> CaseResult:
    name = f"compute-sanitizer {check}"
    if tool is None:
        return CaseResult(name=name, ok=True, detail="skipped: compute-sanitizer was not found")
    command = [
        tool, "--tool", check, "--error-exitcode", str(FOUND), "--report-api-errors", "no",
        sys.executable, "-m", "tuner.verification.sanitizer",
        str(path), workload.model_dump_json(), str(file), device,
    ]  # fmt: skip
    # Without PyTorch's pool of memory each tensor has bounds of its own that the tool can see.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return CaseResult(name=name, ok=True, detail=f"skipped: not done within {TIMEOUT_S:g} s")
    if done.returncode == 0:
        return CaseResult(name=name, ok=True)
    lines = [line.strip("= ") for line in (done.stdout + done.stderr).splitlines() if line.strip("= ")]
    if done.returncode != FOUND:  # the forward itself refused these sizes, or the tool does not work here
        return CaseResult(name=name, ok=True, detail=f"skipped: {lines[-1][:200] if lines else done.returncode}")
    told = next((line for line in lines if "Invalid" in line or "hazard" in line or "Error" in line), lines[-1])
    return CaseResult(name=name, ok=False, detail=told[:300])


def forward_once(path: str, workload: str, file: str, device: str) -> None:
    """What runs under the tool: two forwards of a candidate."""
    loaded, wanted = problem.load(Path(path)), Workload.model_validate_json(workload)
    torch.manual_seed(0)
    model = problem.execute(Path(file), "tuner_candidate").ModelNew(*wanted.init).to(device)
    inputs = problem.inputs(loaded, wanted, 0, device)
    with torch.no_grad():
        for _ in range(2):
            model(*inputs)
    backends.of(device).synchronize()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        forward_once(*sys.argv[1:5])
