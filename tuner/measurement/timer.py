"""Timing forwards of models, each on fresh input values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch

from tuner import backends
from tuner.backends import Clock, Timing
from tuner.measurement.statistics import Untrusted

LATE_MS, LATE_SHARE = 0.5, 0.5  # a device that goes on for longer than this beside a forward's own time works unseen


class Timer:
    """Times forwards of models on one device.

    `inputs` are the base values; before each sample they are copied into the
    buffers that the model is handed, each element moved on to another place and
    scaled by a factor never used before, so that no result can be remembered by
    pointer or by content. (A factor alone would be lost in a model that normalises.)
    `clock` is that of the inputs' device unless given.
    """

    def __init__(self, inputs: Sequence[torch.Tensor], seed: int, clock: Clock | None = None) -> None:
        self.base = list(inputs)
        self.given = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs]
        self.random = random.Random(seed)
        self.clock = clock or backends.of(str(self.base[0].device)).clock()

    def refresh(self, fresh: bool = True) -> None:
        """Put fresh values into the model's inputs, or the base values themselves."""
        for mine, x in zip(self.given, self.base, strict=True):
            if not fresh or x.numel() < 2:
                mine.copy_(x)
                continue
            if not x.is_floating_point():  # indices and masks have to stay some: moved, not scaled
                mine.copy_(x.reshape(-1).roll(self.random.randrange(1, x.numel())).view_as(x))
                continue
            factor, by = 1.0 - self.random.random() * 2**-8, self.random.randrange(1, x.numel())
            torch.mul(x.reshape(-1)[by:], factor, out=mine.view(-1)[: x.numel() - by])
            torch.mul(x.reshape(-1)[:by], factor, out=mine.view(-1)[x.numel() - by :])

    def sample_ms(self, model: Callable[..., torch.Tensor], fresh: bool = True) -> tuple[float, torch.Tensor]:
        """Time one forward in ms on fresh values (or on the base values), and its result.

        Raises Untrusted when the device is still busy well after the forward has ended on
        its stream, and again when the sample is taken anew: it works off the stream.
        """
        for _ in range(2):  # the first time, the operating system may just have taken this process off its core
            timing = self._time(model, fresh)
            if timing.late_ms <= LATE_MS + LATE_SHARE * timing.elapsed_ms:
                return timing.elapsed_ms, timing.result
        raise Untrusted(f"the device was busy for {timing.late_ms:.2f} ms after the forward had ended on its stream")

    def _time(self, model: Callable[..., torch.Tensor], fresh: bool) -> Timing:
        self.refresh(fresh)
        with torch.no_grad():
            return self.clock.time(lambda: model(*self.given))

    def samples_ms(self, model: Callable[..., torch.Tensor], count: int) -> list[float]:
        """Times of `count` forwards in ms, each on fresh values."""
        return [self.sample_ms(model)[0] for _ in range(count)]
