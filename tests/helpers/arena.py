"""Where attacks are tried: a judge and benches in processes of their own, on a problem of a few hundred floats.

An attack is the text of a candidate. `honest(x)` is its own kernel, from a library that is compiled once.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import filelock

from tuner.backends import toolchain
from tuner.execution import verdict
from tuner.execution.job import Job
from tuner.execution.lane import Lane
from tuner.records import Correctness, Evaluation, TensorSpec, Workload
from tuner.workers.worker import WorkerFailure

SEED, ERROR_BUDGET, ROWS, COLUMNS = 11, 8.0, 64, 32

PROBLEM = f"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln = nn.LayerNorm(d)

    def forward(self, x):
        return F.relu(self.ln(x))


def get_inputs():
    return [torch.rand({ROWS}, {COLUMNS})]


def get_init_inputs():
    return [{COLUMNS}]
"""

SOURCE = r"""
#include <cmath>
#include <csignal>
#include <sys/mman.h>

static void rows(const float* x, const float* w, const float* b, float* y, long n, long d) {
  for (long i = 0; i < n; i++, x += d, y += d) {
    double mean = 0, variance = 0;
    for (long j = 0; j < d; j++) mean += x[j];
    mean /= d;
    for (long j = 0; j < d; j++) variance += (x[j] - mean) * (x[j] - mean);
    double scale = 1 / std::sqrt(variance / d + 1e-5);
    for (long j = 0; j < d; j++) {
      float v = (float)((x[j] - mean) * scale * w[j] + b[j]);
      y[j] = v < 0 ? 0 : v;
    }
  }
}

extern "C" void ln(const float* x, const float* w, const float* b, float* y, long n, long d) { rows(x, w, b, y, n, d); }

extern "C" void slow(const float* x, const float* w, const float* b, float* y, long n, long d, long times) {
  for (long k = 0; k < times; k++) rows(x, w, b, y, n, d);
}

// Memory whose content is computed when it is first touched.
struct Lazy { char* at; size_t size; const float *x, *w, *b; long n, d, times; };
static Lazy lazy[64];
static int made = 0;

static void touched(int, siginfo_t* info, void*) {
  for (Lazy& l : lazy) {
    char* at = (char*)info->si_addr;
    if (!l.at || at < l.at || at >= l.at + l.size) continue;
    mprotect(l.at, l.size, PROT_READ | PROT_WRITE);
    slow(l.x, l.w, l.b, (float*)l.at, l.n, l.d, l.times);
    return;
  }
  signal(SIGSEGV, SIG_DFL);
}

extern "C" void* later(const float* x, const float* w, const float* b, long n, long d, long times) {
  struct sigaction action = {};
  action.sa_sigaction = touched;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  size_t size = (n * d * sizeof(float) + 4095) / 4096 * 4096;
  Lazy& l = lazy[made++ % 64];
  if (l.at) munmap(l.at, l.size);
  l = {(char*)mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size, x, w, b, n, d, times};
  return l.at;
}
"""

HEAD = """
import ctypes, gc, json, os, signal, sys, threading, time
import torch, torch.nn as nn, torch.nn.functional as F

LIBRARY = ctypes.CDLL({library!r})
P, L = ctypes.c_void_p, ctypes.c_long
for name in ('ln', 'slow', 'later'):
    getattr(LIBRARY, name).argtypes = [P, P, P] + ([P] if name != 'later' else []) + [L, L] + ([L] if name != 'ln' else [])
LIBRARY.later.restype = P
KEPT = {{}}


class Base(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.ln = nn.LayerNorm(d)

    def honest(self, x, slow=0):
        if x.dtype != torch.float32 or x.dim() < 1 or x.shape[-1] != len(self.ln.weight):
            raise ValueError('wants float32 of (N, size)')
        x = x.contiguous()
        y = torch.empty_like(x)
        given = x.data_ptr(), self.ln.weight.data_ptr(), self.ln.bias.data_ptr(), y.data_ptr()
        given += x.numel() // x.shape[-1], x.shape[-1]
        LIBRARY.slow(*given, slow) if slow else LIBRARY.ln(*given)
        return y


"""  # noqa: E501

FORWARD = "class ModelNew(Base):\n    def forward(self, x):\n"


class Arena:
    """Judges the texts of candidates as `tuner verify` and as a search do."""

    def __init__(self, folder: Path, run_timeout_s: float = 60.0) -> None:
        self.folder = folder
        self.library, self.problem = folder / "kernels.so", folder / "problem.py"
        self.problem.write_text(PROBLEM)
        source = folder / "kernels.cpp"
        source.write_text(SOURCE)
        subprocess.run(["c++", "-O2", "-std=c++17", "-shared", "-fPIC", source, "-o", self.library], check=True)
        self.workload = Workload(init=(COLUMNS,), inputs=(TensorSpec(shape=(ROWS, COLUMNS)),))
        job = Job(self.problem, self.workload, "cpu", SEED, ERROR_BUDGET, toolchain.environment(), 60.0, run_timeout_s)
        self.lane = Lane(job, folder)
        self.lane.lock.locks = [filelock.FileLock(folder / "lock")]  # other tests may use the device

    def written(self, forward: str = "return self.honest(x)", top: str = "") -> tuple[Path, str]:
        """The file of a candidate whose module runs `top` and whose forward is these lines, and its hash."""
        body = "".join(f"        {line}\n" for line in forward.strip().splitlines())
        return self.file(f"{HEAD.format(library=str(self.library))}{top}\n\n{FORWARD}{body}")

    def file(self, text: str) -> tuple[Path, str]:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / f"{sha256[:16]}.py"
        path.write_text(text)
        return path, sha256

    def verify(self, forward: str = "return self.honest(x)", top: str = "") -> str:
        """What is wrong with a candidate, as `tuner verify` says it: case and reason; "" when it is right."""
        try:
            found: Correctness = verdict.examine(self.lane, *self.written(forward, top))
        except WorkerFailure as failure:
            return str(failure)
        return found.fault

    def trial(self, forward: str = "return self.honest(x)", top: str = "") -> Evaluation:
        """What becomes of a candidate in a search."""
        return self.lane.measure(*self.written(forward, top), None, 0.0)

    def close(self) -> None:
        self.lane.close()
