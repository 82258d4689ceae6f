"""Timing one forward: device events and a cold L2 on CUDA, the wall clock on a CPU.

The functions that read time are bound here when the module is imported, before
any candidate is loaded, and are checked for tampering before they are believed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import torch

from tuner.comparison import Untrusted

FLUSH_BYTES = 256 * 2**20  # over twice the largest L2 in use; KernelBench flushes as much
LEAD_CYCLES = 400_000  # about 0.2 ms in which the host queues the whole forward

_CLOCK = time.perf_counter
_TRUSTED = {
    "time.perf_counter": (lambda: time.perf_counter, time.perf_counter),
    "torch.cuda.Event": (lambda: torch.cuda.Event, torch.cuda.Event),
    "torch.cuda.Event.record": (lambda: torch.cuda.Event.record, torch.cuda.Event.record),
    "torch.cuda.Event.elapsed_time": (lambda: torch.cuda.Event.elapsed_time, torch.cuda.Event.elapsed_time),
    "torch.cuda.synchronize": (lambda: torch.cuda.synchronize, torch.cuda.synchronize),
    "torch.Tensor.copy_": (lambda: torch.Tensor.copy_, torch.Tensor.copy_),
    "torch.equal": (lambda: torch.equal, torch.equal),
    "torch.allclose": (lambda: torch.allclose, torch.allclose),
}


def tampered() -> str | None:
    """The name of the first function measurement rests on that is no longer the original, or None."""
    return next((name for name, (now, original) in _TRUSTED.items() if now() != original), None)


class Timer:
    """Times forwards of models on one device, each on fresh input values.

    `inputs` are the base values; before each sample they are copied into the
    buffers that the model is handed and scaled by a factor never used before,
    so that no result can be remembered by pointer or by content.
    """

    def __init__(self, inputs: Sequence[torch.Tensor], seed: int) -> None:
        self.base = list(inputs)
        self.given = [torch.empty_like(x) for x in inputs]
        self.device = self.base[0].device
        self.random = random.Random(seed)
        self.flush = (
            torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=self.device) if self.device.type == "cuda" else None
        )

    def refresh(self, factor: float | None = None) -> float:
        """Put fresh values into the model's inputs; returns the factor they were scaled by."""
        factor = factor if factor is not None else 1.0 - self.random.random() * 2**-8
        for mine, x in zip(self.given, self.base, strict=True):
            torch.mul(x, factor, out=mine)
        return factor

    def sample_ms(self, model: Callable[..., torch.Tensor], factor: float | None = None) -> tuple[float, torch.Tensor]:
        """Time one forward in ms, and its result.

        On CUDA the device first waits a moment, so that the host has queued the
        forward before it starts, as in steady use: what is measured is the device's
        time, not the host's latency. Then the L2 is flushed. The time is between two
        events on the current stream, and a device that is still busy well after the
        second one means work off the stream.
        """
        self.refresh(factor)
        with torch.no_grad():
            if self.flush is None:
                start = _CLOCK()
                y = model(*self.given)
                return (_CLOCK() - start) * 1e3, y
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            torch.cuda._sleep(LEAD_CYCLES)
            self.flush.zero_()
            begin.record()
            y = model(*self.given)
            end.record()
            end.synchronize()
            late = _CLOCK()
            torch.cuda.synchronize()
            late_ms = (_CLOCK() - late) * 1e3
        elapsed = begin.elapsed_time(end)
        if late_ms > 0.5 + 0.5 * elapsed:
            raise Untrusted(f"the device was busy for {late_ms:.2f} ms after the forward had ended on its stream")
        return elapsed, y

    def samples_ms(self, model: Callable[..., torch.Tensor], count: int) -> list[float]:
        return [self.sample_ms(model)[0] for _ in range(count)]
