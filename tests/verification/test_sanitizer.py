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
from tuner.records import CaseResult
from tuner.verification import sanitizer


def sanitize(file: Path, device: str, folder: Path) -> list[CaseResult]:
    return sanitizer.Sanitizing(loaded("gn_mean"), workload("gn_mean"), file, device, folder).results()


def test_a_missing_sanitizer_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = sanitize(problem_path("gn_mean"), "cuda:0", tmp_path)
    assert [(c.name, c.ok, c.detail) for c in found] == [
        (f"compute-sanitizer {tool}", True, "skipped: compute-sanitizer was not found")
        for tool in ("memcheck", "racecheck")
    ]


def test_a_cpu_needs_no_sanitizer(tmp_path: Path) -> None:
    assert sanitize(problem_path("gn_mean"), "cpu", tmp_path) == []


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
    for case in sanitize(problem_path("gn_mean"), "cuda:0", tmp_path):
        assert (case.ok, case.detail) == (ok, said)


RACES = """#!/bin/sh
echo '========= Error: Race reported between Write access at {one}+0x7e90'
echo '=========     and Read access at {other}+0x7f00 [16 hazards]'
exit 77
"""


@pytest.mark.parametrize(
    ("one", "other", "ok"),
    [
        ("sm90_xmma_dgrad__5x_cudnn", "sm90_xmma_dgrad__5x_cudnn", True),
        ("void mine(float*)", "void mine(float*)", False),
        ("sm90_xmma_dgrad__5x_cudnn", "void mine(float*)", False),
    ],
)
def test_what_is_found_in_a_library_s_own_kernel_is_not_the_candidate_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str, ok: bool
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(RACES.format(one=one, other=other))
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    case, _ = sanitize(problem_path("gn_mean"), "cuda:0", tmp_path)
    assert case.ok is ok and f"Race reported between Write access at {one}" in case.detail


WAITS = "#!/bin/sh\ntouch {folder}/began.$$\nwhile [ $(ls {folder}/began.* | wc -l) -lt 2 ]; do sleep 0.01; done\n"


def test_the_checks_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(WAITS.format(folder=tmp_path))
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    monkeypatch.setattr(sanitizer, "TIMEOUT_S", 20.0)
    assert [case.detail for case in sanitize(problem_path("gn_mean"), "cuda:0", tmp_path)] == ["", ""]


def test_a_check_that_is_not_done_in_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text("#!/bin/sh\nexec sleep 1000\n")
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool))
    monkeypatch.setattr(sanitizer, "TIMEOUT_S", 0.0)
    assert [case.detail for case in sanitize(problem_path("gn_mean"), "cuda:0", tmp_path)] == [
        "skipped: not done within 0 s"
    ] * 2


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
    memcheck, _ = sanitize(file, "cuda:0", tmp_path)
    assert not memcheck.detail.startswith("skipped")
    assert memcheck.ok is ok
