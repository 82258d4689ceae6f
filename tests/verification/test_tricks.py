"""The known ways to fool a harness: each is caught, and the control beside it passes."""

from __future__ import annotations

import copy
import ctypes
import hashlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.suites import make_suite
from tricks import CONTROL, TRICKS, UNCAUGHT, Court

from tuner.backends import toolchain
from tuner.measurement.statistics import Untrusted
from tuner.measurement.timer import Timer
from tuner.records import Status
from tuner.verification.guarded_model import GuardedModel
from tuner.verification.suite import Suite, run_case


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    return Court("gn_mean", tmp_path_factory.mktemp("tricks"))


@pytest.fixture
def restored() -> Iterator[None]:
    """What a trick replaces is put back."""
    kept = time.perf_counter, torch.cuda.Event, torch.equal
    yield
    time.perf_counter, torch.cuda.Event, torch.equal = kept  # type: ignore[misc]


def test_the_control_passes(court: Court) -> None:
    evaluation, healthy = court.trial(CONTROL)
    assert (evaluation.status, evaluation.detail, healthy) == (Status.OK, "", True)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_caught(court: Court, restored: None, name: str) -> None:
    body, said = TRICKS[name]
    evaluation, _ = court.trial(body)
    assert evaluation.status is not Status.OK
    assert said in evaluation.detail
    assert "\n" not in evaluation.detail


@pytest.mark.xfail(strict=True, reason="both ways to notice PyTorch's operators can be turned off")
@pytest.mark.parametrize("name", UNCAUGHT)
def test_a_trick_that_is_not_caught_yet(court: Court, name: str) -> None:
    assert court.trial(UNCAUGHT[name])[0].status is not Status.OK


def test_a_process_whose_clock_was_replaced_is_not_used_again(court: Court, restored: None) -> None:
    _, healthy = court.trial(TRICKS["replaces the clock"][0])
    assert not healthy


def test_a_clock_replaced_at_import_is_noticed(court: Court, restored: None) -> None:
    path, _ = court.file(CONTROL)
    path.write_text(path.read_text() + "\ntime.perf_counter = lambda: 0.0\n")
    evaluation, _ = court.trial_of(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert evaluation.detail == "the candidate replaced time.perf_counter"


def test_a_result_remembered_by_content_is_never_used_in_timing(court: Court) -> None:
    timer = Timer(court.judging.judge.suite.cases[0].inputs, seed=1)
    seen = []

    def model(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.flatten().tolist()))
        return x

    timer.samples_ms(model, 20)
    assert len(set(seen)) == 20


def test_a_time_below_the_physical_floor_is_rejected(court: Court) -> None:
    evaluation, _ = court.trial(CONTROL, floor_ms=1e6)
    assert evaluation.status is Status.BENCHMARK
    assert "below the physical floor of 1000000.0000 ms: a fault of the measurement" in evaluation.detail


def test_right_for_its_own_batch_only_is_caught_by_the_thorough_check(court: Court) -> None:
    body = "return self.own(x) if x.shape[0] == 4 else torch.zeros(self.own(x).shape)"
    assert court.trial(body)[0].status is Status.OK
    assert "I batch 1, A" in court.thorough(body)


def test_the_control_passes_the_thorough_check(court: Court) -> None:
    assert court.thorough(CONTROL) == {}


def test_a_fall_back_for_other_layouts_is_caught_by_the_thorough_check(court: Court) -> None:
    body = "return self.own(x) if x.is_contiguous() else Reference.forward(self, x)"
    assert list(court.thorough(body)) == ["own work"]


def test_a_small_sum_in_pytorch_is_no_fall_back(tmp_path: Path) -> None:
    """As gn_min_bias's broadcast of a bias of any shape, beside the kernel's own minimum."""
    body = (
        "whole = self.unseen(lambda: torch.min(self.group_norm(self.gemm(x)), dim=1, keepdim=True)[0])\n"
        "return whole.amin(1)[:, None] + self.bias"
    )
    assert Court("gn_min_bias", tmp_path).trial(body)[0].detail == ""


# ---- on a GPU --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_gpu() -> Suite:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return make_suite("gn_mean", 3, "cuda")


def changed(suite: Suite, forward: Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]) -> GuardedModel:
    """A copy of the reference with another forward."""
    model = copy.deepcopy(suite.reference.model)
    model.__class__ = type("Changed", (type(model),), {"forward": forward})
    return GuardedModel(model, suite.reference.backend)


@pytest.mark.gpu
def test_the_current_stream_is_right(on_gpu: Suite) -> None:
    suite = on_gpu
    original = type(suite.reference.model).forward
    assert run_case(changed(suite, lambda self, x: original(self, x)), suite.cases[0], repeat=True).ok


@pytest.mark.gpu
def test_a_side_stream_that_nothing_waits_for_is_caught(on_gpu: Suite) -> None:
    suite = on_gpu
    original = type(suite.reference.model).forward
    side = torch.cuda.Stream()

    def forward(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            torch.cuda._sleep(10_000_000)
            late: torch.Tensor = original(self, x)
            return late

    assert not run_case(changed(suite, forward), suite.cases[0]).ok


@pytest.mark.gpu
def test_work_left_on_another_stream_is_caught_when_timed(on_gpu: Suite) -> None:
    side = torch.cuda.Stream()

    def model(x: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(side):
            torch.cuda._sleep(20_000_000)
        return x

    with pytest.raises(Untrusted, match="the device was busy"):
        Timer(on_gpu.cases[0].inputs, seed=1).sample_ms(model)


LAUNCH = """
__global__ void copy(const float* x, float* y, long long n) {
  for (long long i = threadIdx.x; i < n; i += blockDim.x) y[i] = x[i];
}
extern "C" void launch(const float* x, float* y, long long n, long long shared, void* stream) {
  copy<<<1, 256, shared, (cudaStream_t)stream>>>(x, y, n);
  cudaGetLastError();
}
"""


@pytest.mark.gpu
@pytest.mark.parametrize("shared", [0, 1 << 20])
def test_too_much_shared_memory_so_that_nothing_runs_is_caught(on_gpu: Suite, tmp_path: Path, shared: int) -> None:
    nvcc = toolchain.nvcc()
    if nvcc is None or shutil.which("c++") is None:
        pytest.skip("no nvcc")
    (tmp_path / "launch.cu").write_text(LAUNCH)
    library = tmp_path / "launch.so"
    subprocess.run([nvcc, "-shared", "-Xcompiler", "-fPIC", "-o", library, tmp_path / "launch.cu"], check=True)
    launch = ctypes.CDLL(str(library)).launch
    launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_void_p]
    suite = on_gpu
    original = type(suite.reference.model).forward

    def forward(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        right = original(self, x)
        y = torch.empty(right.shape, device=right.device)
        launch(right.data_ptr(), y.data_ptr(), y.numel(), shared, torch.cuda.current_stream().cuda_stream)
        return y

    verdict = run_case(changed(suite, forward), suite.cases[0])
    assert verdict.ok if shared == 0 else "not written" in verdict.detail
