"""Ceilings of a CPU: bandwidth by PyTorch's own loops, the rate by a loop of multiply-adds."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from tuner.backends import toolchain

LEAST_RUNS, MEASURE_S = 5, 0.25
ROUNDS = 300_000
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-funroll-loops")
# Twelve independent multiply-adds hide the latency of two units; a vector is as wide as a register.
SOURCE = """
#ifdef __AVX512F__
typedef float Vector __attribute__((vector_size(64)));
#else
typedef float Vector __attribute__((vector_size(32)));
#endif
extern "C" long long multiply_add(long long rounds, float* out) {
  Vector sums[12], factor = {}, term = {};
  factor += out[0], term += out[1];
  for (auto& sum : sums) sum = term;
  for (long long i = 0; i < rounds; i++) {
    for (auto& sum : sums) sum = sum * factor + term;
  }
  Vector total = {};
  for (auto& sum : sums) total += sum;
  out[0] = total[0];
  return rounds * 12 * 2 * (long long)(sizeof(Vector) / sizeof(float));  // operations
}
"""


def measure(cores: int) -> dict[str, float]:
    """Bandwidths in GB/s and the rate in TFLOP/s, on that many cores. Raises DeviceError when nothing compiles."""
    with torch.no_grad():
        x = torch.ones(2**25)  # 128 MiB
        y = torch.empty_like(x)
        gigabytes = x.numel() * 4 / 1e9
        read = gigabytes / _best_s(lambda: x.sum())
        copy = 2 * gigabytes / _best_s(lambda: y.copy_(x))
    return {"read_gbps": read, "copy_gbps": copy, "fp32_tflops": _multiply_adds(cores)}


def _best_s(call: Callable[[], object]) -> float:
    """The best of many short runs: one that fell between what other processes do."""
    call()
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < MEASURE_S:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def _multiply_adds(cores: int) -> float:
    """Rate in TFLOP/s of a loop of nothing but vector multiply-adds on all cores; products may stay far below it."""
    call = toolchain.build(SOURCE, FLAGS).multiply_add
    call.restype, call.argtypes = ctypes.c_longlong, [ctypes.c_longlong, ctypes.c_void_p]

    def one(_: int) -> int:
        out = (ctypes.c_float * 2)(0.5, 0.5)
        operations: int = call(ROUNDS, ctypes.addressof(out))
        return operations

    with ThreadPoolExecutor(cores) as pool:

        def on_all_cores() -> int:
            return sum(pool.map(one, range(cores)))

        operations = on_all_cores()
        return operations / _best_s(on_all_cores) / 1e12
