"""compute-sanitizer on a candidate. Run as a module, this file is what the tool watches."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import torch

from tuner import backends, problem
from tuner.problem import sizes
from tuner.records import CaseResult, Workload
from tuner.verification.guarded_model import construct
from tuner.workers import processes

TIMEOUT_S = 150.0
FOUND = 77  # the exit code by which the tool says that it found something
FINDING = r"Invalid|Race reported|hazard detected|Error"  # the first line that says what
KERNEL = r"\bat (\S.*)\+0x[0-9a-f]+"  # where
LIBRARIES = r"cudnn|cublas|cutlass|xmma|at::native"  # what PyTorch calls or brings along, which no candidate can mend


class Sanitizing:
    """The checks that apply to a device, on one forward on a small workload; all under way at once.

    Each has a process of its own, in which the candidate is built anew, below `folder`. A note where the tool is
    missing.
    """

    def __init__(
        self, loaded: problem.Problem, workload: Workload, file: Path, torch_device: str, folder: Path
    ) -> None:
        self.checks = backends.of(torch_device).sanitizers
        self.running: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self.until = time.monotonic() + TIMEOUT_S
        tool = shutil.which("compute-sanitizer") if self.checks else None
        if tool is None:
            return
        small = sizes.odd(loaded, workload.with_batch(2))
        # Without PyTorch's pool of memory each tensor has bounds of its own that the tool can see.
        environment = {
            **os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "TORCH_EXTENSIONS_DIR": str(folder / "sanitized"),
        }  # fmt: skip
        for check in self.checks:
            command = [
                tool, "--tool", check, "--error-exitcode", str(FOUND), "--report-api-errors", "no",
                sys.executable, "-m", "tuner.verification.sanitizer",
                str(loaded.path), small.model_dump_json(), str(file), torch_device,
            ]  # fmt: skip
            said = tempfile.TemporaryFile()  # noqa: SIM115  `end` closes it
            process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
            self.running[check] = process, said

    def results(self) -> list[CaseResult]:
        """Wait for all of them."""
        try:
            return [self._result(check) for check in self.checks]
        finally:
            self.end()

    def _result(self, check: str) -> CaseResult:
        name = f"compute-sanitizer {check}"
        if check not in self.running:
            return CaseResult(name=name, ok=True, detail="skipped: compute-sanitizer was not found")
        process, said = self.running[check]
        try:
            code = process.wait(max(0.0, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return CaseResult(name=name, ok=True, detail=f"skipped: not done within {TIMEOUT_S:g} s")
        said.seek(0)
        lines = [line.strip("= ") for line in said.read().decode(errors="replace").splitlines() if line.strip("= ")]
        if code == 0:
            return CaseResult(name=name, ok=True)
        if code != FOUND:  # the forward itself refused these sizes, or the tool does not work here
            return CaseResult(name=name, ok=True, detail=f"skipped: {lines[-1][:200] if lines else code}")
        told = next((line for line in lines if re.search(FINDING, line)), lines[-1])
        kernels = [found[1] for line in lines if (found := re.search(KERNEL, line))]
        if kernels and all(re.search(LIBRARIES, kernel) for kernel in kernels):
            return CaseResult(name=name, ok=True, detail=f"not judged: in a library's own kernel: {told[:200]}")
        return CaseResult(name=name, ok=False, detail=told[:300])

    def end(self) -> None:
        """Kill whatever is still under way."""
        for process, said in self.running.values():
            processes.kill(process.pid)
            process.wait()
            said.close()
        self.running.clear()


def forward_once(path: str, workload: str, file: str, device: str) -> None:
    """What runs under the tool: two forwards of a candidate."""
    loaded, wanted = problem.load(Path(path)), Workload.model_validate_json(workload)
    model = construct(problem.execute(Path(file), "tuner_candidate").ModelNew, wanted, 0).to(device)
    inputs = problem.inputs(loaded, wanted, 0, device)
    with torch.no_grad():
        for _ in range(2):
            model(*inputs)
    backends.of(device).synchronize()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        forward_once(*sys.argv[1:5])
