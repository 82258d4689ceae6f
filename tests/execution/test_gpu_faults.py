"""Faults of CUDA kernels: each costs its own trial, with its phase, and the next trial is clean."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import injected

from tuner import backends
from tuner.backends import toolchain
from tuner.execution.compilers import Compilers
from tuner.execution.lane import Lane
from tuner.execution.pipeline import Pipeline
from tuner.records import Evaluation, Status
from tuner.settings import resolve
from tuner.space import Point

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends.of("cuda").missing() is not None, reason=backends.of("cuda").missing() or ""),
]

DEVICE = "cuda:0"
POINT = Point("gpu", (("block_size", 128),))
HOST = """\
import torch


def gpu(model, kernel, x):
    x = aligned(x)
    out = torch.empty_like(x)
    kernel.launch("scale", x, model.weight, out, x.shape[0], x.shape[1])
    return out
"""
SOURCE = """\
#include <cassert>
#include <cuda_runtime.h>
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 128
#endif
__global__ void scale_kernel(const float* x, const float* w, float* out, long long n, long long c) {
  long long i = blockIdx.x * (long long)BLOCK_SIZE + threadIdx.x;
  /* FAULT */
  if (i < n * c) out[i] = x[i] * w[i % c];
}
extern "C" const char* tuner_error(int code) { return cudaGetErrorString((cudaError_t)code); }
extern "C" int scale(const float* x, const float* w, float* out, long long n, long long c, void* stream) {
  unsigned blocks = (unsigned)((n * c + BLOCK_SIZE - 1) / BLOCK_SIZE);
  scale_kernel<<<blocks, THREADS, SHARED, (cudaStream_t)stream>>>(x, w, out, n, c);
  return cudaGetLastError();
}
"""


def source(fault: str = "", threads: str = "BLOCK_SIZE", shared: str = "0") -> dict[str, str]:
    text = SOURCE.replace("/* FAULT */", fault).replace("THREADS", threads).replace("SHARED", shared)
    return {"gpu.cu": text, "gpu.py": HOST}


def host(line: str) -> dict[str, str]:
    return {**source(), "gpu.py": HOST.replace("    out = ", f"    {line}\n    out = ")}


class Rig:
    """The pipeline on the GPU, on candidates of the tiny template's CUDA variant."""

    def __init__(self, root: Path, capability: tuple[int, int]) -> None:
        self.root, self.count = root, 0
        problem = injected.write(root / "sound", **source()) / "problem.py"
        self.folder = root / "run"
        self.folder.mkdir()
        job = replace(injected.job(problem, run_timeout_s=20), torch_device=DEVICE, capability=capability)
        self.lane = Lane(job, self.folder)
        self.compilers = Compilers(2, job.environment, DEVICE)
        self.pipeline = Pipeline(job, self.lane, self.folder, 0.0, self.compilers)

    def measure(self, files: dict[str, str]) -> Evaluation:
        self.count += 1
        folder = self.root / "templates" / "tiny"
        shutil.rmtree(folder.parent, ignore_errors=True)
        self.pipeline.submit(self.count, injected.candidate(folder, POINT, **files))
        number, _, evaluation = self.pipeline.next()
        assert number == self.count
        return evaluation

    def works(self) -> bool:
        evaluation = self.measure(source())
        assert evaluation.status is Status.OK, evaluation
        return True


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    here = resolve.here(DEVICE, toolchain.environment())
    made = Rig(tmp_path_factory.mktemp("gpu"), here.capability)
    made.lane.prepare()
    yield made
    made.pipeline.close()
    made.compilers.close()
    made.lane.close()


def test_a_sound_candidate_is_measured(rig: Rig) -> None:
    evaluation = rig.measure(source())
    assert evaluation.status is Status.OK, evaluation
    assert evaluation.resources is not None and evaluation.resources.registers > 0


# After these the device is of no more use to the process; it must be another one afterwards.
STICKY = {
    "illegal address": (source("out[i + (1LL << 40)] = 1.0f;"), "illegal memory access"),
    "misaligned access": (source("*(float4*)(out + 1) = make_float4(1, 2, 3, 4);"), "misaligned address"),
    "device assert": (source("assert(n < 0);"), "assert"),
    "trap": (source("__trap();"), ""),
    "illegal shared access": (source("extern __shared__ float s[]; s[i + (1 << 24)] = 1; out[0] = s[i];"), ""),
}


@pytest.mark.parametrize("name", STICKY)
def test_a_fault_that_breaks_the_device_replaces_the_process(rig: Rig, name: str) -> None:
    files, says = STICKY[name]
    assert rig.works()
    before = rig.lane.bench.started
    evaluation = rig.measure(files)
    assert evaluation.status in (Status.LAUNCH, Status.CRASH), evaluation
    assert says in evaluation.detail, evaluation
    assert rig.works() and rig.lane.bench.started == before + 1


def test_an_endless_kernel_ends_at_its_deadline(rig: Rig) -> None:
    assert rig.works()
    before = rig.lane.bench.started
    evaluation = rig.measure(source("while (clock64() >= 0) {}"))
    assert evaluation.status is Status.TIMEOUT, evaluation
    assert "no answer within 20 s while in launch" in evaluation.detail
    assert rig.works() and rig.lane.bench.started == before + 1


# These harm nothing but their own call.
CLEAN = {
    "too many threads": (source(threads="2048"), Status.LAUNCH, "invalid"),
    "too much shared memory": (source(shared="300 * 1024"), Status.LAUNCH, "invalid"),
    "out of memory": (host("torch.empty(2**45, device=x.device)"), Status.LAUNCH, "memory"),
    "raises": (host("raise ValueError('no')"), Status.LAUNCH, "ValueError: no"),
    "writes nothing": (source("return;"), Status.VERIFY, "case "),
    "too much static shared memory": (
        source("__shared__ float s[96 * 1024]; s[threadIdx.x] = x[0]; __syncthreads(); out[0] = s[0];"),
        Status.COMPILE,
        "shared",
    ),
    "compile error": (source("no_such_function();"), Status.COMPILE, "no_such_function"),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_fault_that_breaks_nothing_keeps_the_process(rig: Rig, name: str) -> None:
    files, status, says = CLEAN[name]
    assert rig.works()
    before = rig.lane.bench.started
    evaluation = rig.measure(files)
    assert (evaluation.status, says in evaluation.detail) == (status, True), evaluation
    assert rig.works() and rig.lane.bench.started == before


def test_memory_that_a_candidate_held_is_free_again(rig: Rig) -> None:
    """Half of the device, again and again: a trial may not keep what the one before it took."""
    hold = "kernel.held = torch.empty(torch.cuda.mem_get_info()[1] // 2, dtype=torch.uint8, device=x.device)"
    for _ in range(3):
        rig.measure(host(f"{hold}\n    raise ValueError('held')"))
    assert rig.works()
