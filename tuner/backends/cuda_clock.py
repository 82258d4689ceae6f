"""The clock on CUDA: two events on the stream around a call, with the L2 cache flushed before it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from tuner.backends.base import Clock, Timing

FLUSH_BYTES = 256 * 2**20  # over twice the largest L2 in use; KernelBench flushes as much
LEAD_CYCLES = 400_000  # about 0.2 ms in which the host queues the whole forward

_now = time.perf_counter  # bound before any candidate could replace it


class EventClock(Clock):
    """Times what the device does, not how fast the host launches it.

    The device first waits a moment, so that the host has queued the whole call before
    it starts, as in steady use. Then the L2 cache is flushed. The time is between two
    events on the current stream.
    """

    def __init__(self, torch_device: str) -> None:
        self.flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=torch_device)

    def time(self, call: Callable[[], torch.Tensor]) -> Timing:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        torch.cuda._sleep(LEAD_CYCLES)
        self.flush.zero_()
        begin.record()
        result = call()
        end.record()
        end.synchronize()
        late = _now()
        torch.cuda.synchronize()
        late_ms = (_now() - late) * 1e3
        return Timing(begin.elapsed_time(end), late_ms, result)
