"""Ceilings of a GPU: bandwidth by PyTorch's own kernels, rates by its matrix products."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch

SECONDS = 0.3  # for each figure: an idle device reaches its clocks in less


def measure(torch_device: str) -> dict[str, float]:
    """Bandwidths in GB/s and rates in TFLOP/s."""
    with torch.no_grad(), torch.cuda.device(torch_device):
        return {**_bandwidths(), **_rates()}


def _bandwidths() -> dict[str, float]:
    x = torch.ones(2**28, device="cuda")  # 1 GiB, far beyond any L2
    y = torch.empty_like(x)
    gigabytes = x.numel() * 4 / 1e9
    return {
        "read_gbps": gigabytes / _best_ms(lambda: x.sum()) * 1e3,
        "copy_gbps": 2 * gigabytes / _best_ms(lambda: y.copy_(x)) * 1e3,
    }


def _rates() -> dict[str, float]:
    n, rates = 8192, {}
    a = torch.randn(n, n, device="cuda")
    allowed = torch.backends.cuda.matmul.allow_tf32
    for name, tf32, dtype in (
        ("fp32_tflops", False, torch.float32),
        ("tf32_tflops", True, torch.float32),
        ("bf16_tflops", False, torch.bfloat16),
    ):
        b = a.to(dtype)
        out = torch.empty_like(b)
        product = functools.partial(torch.mm, b, b, out=out)
        torch.backends.cuda.matmul.allow_tf32 = tf32
        try:
            rates[name] = 2 * n**3 / _best_ms(product) / 1e9
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed
    return rates


def _best_ms(call: Callable[[], object]) -> float:
    """Best time of `call` on the current CUDA device within SECONDS."""
    best, until = math.inf, time.monotonic() + SECONDS
    while time.monotonic() < until or best == math.inf:
        start: Any = torch.cuda.Event(enable_timing=True)
        end: Any = torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end))
    return best
