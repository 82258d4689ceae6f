"""The known ways to fool a harness: each is caught, and the control beside it passes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time

import pytest
import torch
from helpers.tricks import CONTROL, TRICKS, UNCAUGHT, Bench

from tuner.measurement.statistics import Untrusted
from tuner.measurement.timer import Timer
from tuner.records import Status
from tuner.verification.suite import Suite, Wrong


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench("gn_mean", tmp_path_factory.mktemp("tricks"))


@pytest.fixture
def restored():
    """What a trick replaces is put back."""
    kept = time.perf_counter, torch.cuda.Event, torch.equal
    yield
    time.perf_counter, torch.cuda.Event, torch.equal = kept


def test_the_control_passes(bench):
    evaluation, healthy = bench.trial(CONTROL)
    assert (evaluation.status, evaluation.detail, healthy) == (Status.OK, "", True)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_caught(bench, restored, name):
    body, said = TRICKS[name]
    evaluation, _ = bench.trial(body)
    assert evaluation.status is not Status.OK
    assert said in evaluation.detail
    assert "\n" not in evaluation.detail


@pytest.mark.xfail(strict=True, reason="both ways to notice PyTorch's operators can be turned off")
@pytest.mark.parametrize("name", UNCAUGHT)
def test_a_trick_that_is_not_caught_yet(bench, name):
    assert bench.trial(UNCAUGHT[name])[0].status is not Status.OK


def test_a_process_whose_clock_was_replaced_is_not_used_again(bench, restored):
    _, healthy = bench.trial(TRICKS["replaces the clock"][0])
    assert not healthy


def test_a_clock_replaced_at_import_is_noticed(bench, restored):
    path, _ = bench.file(CONTROL)
    path.write_text(path.read_text() + "\ntime.perf_counter = lambda: 0.0\n")
    answer = bench.session.trial(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), None, 0.0)
    assert answer["evaluation"]["detail"] == "the candidate replaced time.perf_counter"


def test_a_result_remembered_by_content_is_never_used_in_timing(bench):
    timer = Timer(bench.session.suite.cases[0].inputs, seed=1)
    seen = []

    def model(x):
        seen.append(tuple(x.flatten().tolist()))
        return x

    timer.samples_ms(model, 20)
    assert len(set(seen)) == 20


def test_a_time_below_the_physical_floor_is_rejected(bench):
    evaluation, _ = bench.trial(CONTROL, floor_ms=1e6)
    assert evaluation.status is Status.BENCHMARK
    assert "below the physical floor of 1000000.0000 ms: a fault of the measurement" in evaluation.detail


def test_right_for_its_own_batch_only_is_caught_by_the_thorough_check(bench):
    body = "return self.own(x) if x.shape[0] == 4 else torch.zeros(self.own(x).shape)"
    assert bench.trial(body)[0].status is Status.OK
    assert "I batch 1, A" in bench.thorough(body)


def test_the_control_passes_the_thorough_check(bench):
    assert bench.thorough(CONTROL) == {}


def test_a_fall_back_for_other_layouts_is_caught_by_the_thorough_check(bench):
    body = "return self.own(x) if x.is_contiguous() else Reference.forward(self, x)"
    assert list(bench.thorough(body)) == ["own work"]


def test_a_small_sum_in_pytorch_is_no_fall_back(tmp_path):
    """As gn_min_bias's broadcast of a bias of any shape, beside the kernel's own minimum."""
    body = (
        "whole = self.unseen(lambda: torch.min(self.group_norm(self.gemm(x)), dim=1, keepdim=True)[0])\n"
        "return whole.amin(1)[:, None] + self.bias"
    )
    assert Bench("gn_min_bias", tmp_path).trial(body)[0].detail == ""


# ---- on a GPU --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from helpers.tricks import problem_path, workload

    from tuner import problem

    return Suite(problem.load(problem_path("gn_mean")), workload("gn_mean"), "cuda", 3)


def changed(suite, forward):
    """A copy of the reference with another forward."""
    import copy

    model = copy.deepcopy(suite.reference)
    kind = type("Changed", (type(model),), {"forward": forward})
    model.__class__ = kind
    return model


@pytest.mark.gpu
def test_the_current_stream_is_right(on_gpu):
    suite = on_gpu
    original = type(suite.reference).forward
    suite.run_case(changed(suite, lambda self, x: original(self, x)), suite.cases[0], repeat=True)


@pytest.mark.gpu
def test_a_side_stream_that_nothing_waits_for_is_caught(on_gpu):
    suite = on_gpu
    original = type(suite.reference).forward
    side = torch.cuda.Stream()

    def forward(self, x):
        with torch.cuda.stream(side):
            torch.cuda._sleep(10_000_000)
            return original(self, x)

    with pytest.raises(Wrong):
        suite.run_case(changed(suite, forward), suite.cases[0])


@pytest.mark.gpu
def test_work_left_on_another_stream_is_caught_when_timed(on_gpu):
    side = torch.cuda.Stream()

    def model(x):
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
def test_too_much_shared_memory_so_that_nothing_runs_is_caught(on_gpu, tmp_path, shared):
    import ctypes

    from tuner.backends import toolchain

    if toolchain.nvcc() is None or shutil.which("c++") is None:
        pytest.skip("no nvcc")
    (tmp_path / "launch.cu").write_text(LAUNCH)
    library = tmp_path / "launch.so"
    command = [toolchain.nvcc(), "-shared", "-Xcompiler", "-fPIC", "-o", library, tmp_path / "launch.cu"]
    subprocess.run(command, check=True)
    launch = ctypes.CDLL(str(library)).launch
    launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_void_p]
    suite = on_gpu
    original = type(suite.reference).forward

    def forward(self, x):
        right = original(self, x)
        y = torch.empty(right.shape, device=right.device)
        launch(right.data_ptr(), y.data_ptr(), y.numel(), shared, torch.cuda.current_stream().cuda_stream)
        return y

    model = changed(suite, forward)
    if shared == 0:
        suite.run_case(model, suite.cases[0])
        return
    with pytest.raises(Wrong, match="not written"):
        suite.run_case(model, suite.cases[0])
