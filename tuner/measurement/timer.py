"""Timing one forward: device events and a cold L2 on CUDA, the wall clock on a CPU.

The functions that read time are bound here when the module is imported, before
any candidate is loaded, and are checked for tampering before they are believed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tuner.measurement.statistics import Untrusted

FLUSH_BYTES = 256 * 2**20  # over twice the largest L2 in use; KernelBench flushes as much
LEAD_CYCLES = 400_000  # about 0.2 ms in which the host queues the whole forward

_CLOCK = time.perf_counter
# What measuring and judging rest on.
_NAMES = (
    "time.perf_counter", "torch.cuda.Event", "torch.cuda.Event.record", "torch.cuda.Event.synchronize",
    "torch.cuda.Event.elapsed_time", "torch.cuda.synchronize", "torch.cuda._sleep", "torch.cuda.current_stream",
    "torch.equal", "torch.allclose", "torch.full", "torch.mul", "torch.where",
    *(f"torch.Tensor.{name}" for name in
      ("abs", "all", "any", "clone", "copy_", "double", "fill_", "isfinite", "isinf", "isnan", "item", "max", "view",
       "zero_", "__eq__", "__getitem__", "__sub__")),
)  # fmt: skip


def _find(name: str) -> Any:
    found: Any = {"time": time, "torch": torch}
    for part in name.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    return found


_ORIGINAL = {name: _find(name) for name in _NAMES}


def tampered() -> str | None:
    """The name of the first function measurement rests on that is no longer the original, or None."""
    return next((name for name, original in _ORIGINAL.items() if _find(name) != original), None)


def switches() -> dict[str, Any]:
    """PyTorch's settings of the whole process that change what a later call computes, or how fast."""
    tf32 = {}
    for name, owner in (("cuda.matmul", torch.backends.cuda.matmul), ("cudnn", torch.backends.cudnn)):
        try:
            tf32[f"torch.backends.{name}.allow_tf32"] = owner.allow_tf32
        except RuntimeError:  # PyTorch 2.9 and later: set by the newer `fp32_precision`
            tf32[f"torch.backends.{name}.allow_tf32"] = None
    return {
        **tf32,
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch.use_deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch.set_num_threads": torch.get_num_threads(),
        "torch.set_default_dtype": torch.get_default_dtype(),
        "torch.set_grad_enabled": torch.is_grad_enabled(),
        "torch.set_flush_denormal": (torch.full((1,), 1e-40) * 1).item(),
    }


def switched(before: dict[str, Any]) -> str | None:
    """The first setting that is not as it was, or None."""
    return next((name for name, value in switches().items() if before[name] != value), None)


class Timer:
    """Times forwards of models on one device, each on fresh input values.

    `inputs` are the base values; before each sample they are copied into the
    buffers that the model is handed, each element moved on to another place and
    scaled by a factor never used before, so that no result can be remembered by
    pointer or by content. (A factor alone would do for no model that normalises.)
    """

    def __init__(self, inputs: Sequence[torch.Tensor], seed: int) -> None:
        self.base = list(inputs)
        self.given = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs]
        self.device = self.base[0].device
        self.random = random.Random(seed)
        self.flush = (
            torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device=self.device) if self.device.type == "cuda" else None
        )

    def refresh(self, fresh: bool = True) -> None:
        """Put fresh values into the model's inputs, or the base values themselves."""
        for mine, x in zip(self.given, self.base, strict=True):
            if not fresh or x.numel() < 2:
                mine.copy_(x)
                continue
            factor, by = 1.0 - self.random.random() * 2**-8, self.random.randrange(1, x.numel())
            torch.mul(x.reshape(-1)[by:], factor, out=mine.view(-1)[: x.numel() - by])
            torch.mul(x.reshape(-1)[:by], factor, out=mine.view(-1)[x.numel() - by :])

    def sample_ms(self, model: Callable[..., torch.Tensor], fresh: bool = True) -> tuple[float, torch.Tensor]:
        """Time one forward in ms on fresh values (or on the base values), and its result.

        On CUDA the device first waits a moment, so that the host has queued the
        forward before it starts, as in steady use: what is measured is the device's
        time, not the host's latency. Then the L2 is flushed. The time is between two
        events on the current stream. A device that is still busy well after the second
        one, and again when the sample is taken anew, means work off the stream: raises
        Untrusted.
        """
        for _ in range(2):  # the first time this process may just have been off its core
            elapsed, late_ms, y = self._sample(model, fresh)
            if late_ms <= 0.5 + 0.5 * elapsed:
                return elapsed, y
        raise Untrusted(f"the device was busy for {late_ms:.2f} ms after the forward had ended on its stream")

    def _sample(self, model: Callable[..., torch.Tensor], fresh: bool) -> tuple[float, float, torch.Tensor]:
        """One forward: its time, for how long the device went on after it (both in ms), and its result."""
        self.refresh(fresh)
        with torch.no_grad():
            if self.flush is None:
                start = _CLOCK()
                y = model(*self.given)
                return (_CLOCK() - start) * 1e3, 0.0, y
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
        return begin.elapsed_time(end), late_ms, y

    def samples_ms(self, model: Callable[..., torch.Tensor], count: int) -> list[float]:
        return [self.sample_ms(model)[0] for _ in range(count)]
