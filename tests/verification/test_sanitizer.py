"""compute-sanitizer: its findings fail a candidate, its absence is a note."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.suites import loaded
from tricks import problem_path, workload

from tuner.backends import toolchain
from tuner.verification import sanitizer


def test_a_missing_sanitizer_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = sanitizer.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cuda:0")
    assert [(c.name, c.ok, c.detail) for c in found] == [
        (f"compute-sanitizer {tool}", True, "skipped: compute-sanitizer was not found")
        for tool in ("memcheck", "racecheck")
    ]


def test_a_cpu_needs_no_sanitizer() -> None:
    assert sanitizer.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cpu") == []


TOOL = "#!/bin/sh\necho '========= Invalid __global__ write of size 4 bytes'\nexit {code}\n"


@pytest.mark.parametrize(
    ("code", "ok", "said"),
    [
        (0, True, ""),
        (sanitizer.FOUND, False, "Invalid __global__ write of size 4 bytes"),
        (1, True, "skipped: Invalid __global__ write of size 4 bytes"),
    ],
)
def test_the_sanitizer_s_exit_code_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, ok: bool, said: str
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL.format(code=code))
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    for case in sanitizer.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cuda:0"):
        assert (case.ok, case.detail) == (ok, said)


OUT_OF_BOUNDS = """
__global__ void beyond(float* y, long long n) { y[n + threadIdx.x + %s] = 0.f; }
extern "C" void launch(float* y, long long n, void* stream) {
  beyond<<<1, 1, 0, (cudaStream_t)stream>>>(y, n);
}
"""


@pytest.mark.gpu
@pytest.mark.parametrize(("offset", "ok"), [("(-1)", True), ("(1 << 20)", False)])
def test_on_a_gpu_memcheck_finds_a_write_out_of_bounds(tmp_path: Path, offset: str, ok: bool) -> None:
    nvcc = toolchain.nvcc()
    if not torch.cuda.is_available() or nvcc is None or shutil.which("compute-sanitizer") is None:
        pytest.skip("no CUDA device, nvcc or compute-sanitizer")
    (tmp_path / "beyond.cu").write_text(OUT_OF_BOUNDS % offset)
    library = tmp_path / "beyond.so"
    source = tmp_path / "beyond.cu"
    subprocess.run([nvcc, "-shared", "-Xcompiler", "-fPIC", "-o", library, source], check=True)
    file = tmp_path / "candidate.py"
    file.write_text(
        problem_path("gn_mean").read_text().replace("class Model(", "class ModelNew(").replace(
            "return x.mean(dim=[1, 2, 3, 4])",
            "y = torch.zeros(x.shape[0], device=x.device)\n"
            "        import ctypes\n"
            f"        launch = ctypes.CDLL({str(library)!r}).launch\n"
            "        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)\n"
            "        launch(ctypes.c_void_p(y.data_ptr()), ctypes.c_longlong(y.numel()), stream)\n"
            "        return y",
        )
    )  # fmt: skip
    memcheck, _ = sanitizer.sanitize(loaded("gn_mean"), workload("gn_mean"), file, "cuda:0")
    assert not memcheck.detail.startswith("skipped")
    assert memcheck.ok is ok
