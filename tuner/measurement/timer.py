"""Timing forwards of models, each on fresh input values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch

from tuner import backends
from tuner.backends import Clock, Timing
from tuner.measurement.statistics import Untrusted
from tuner.verification.papers import Perturbation
from tuner.verification.perturbation import draw, perturb

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

    def refresh(self, by: Perturbation | None = None) -> None:
        """Put new values into the model's inputs: by a perturbation that the caller knows, or by one of its own."""
        by = by or draw(self.random)
        for mine, x in zip(self.given, self.base, strict=True):
            perturb(x, by, mine)

    def sample_ms(
        self, model: Callable[..., torch.Tensor], by: Perturbation | None = None
    ) -> tuple[float, torch.Tensor]:
        """Time one forward in ms on fresh values, and its result.

        Raises Untrusted when the device is still busy well after the forward has ended on
        its stream, and again when the sample is taken anew: it works off the stream.
        """
        for _ in range(2):  # the first time, the operating system may just have taken this process off its core
            timing = self._time(model, by)
            if timing.late_ms <= LATE_MS + LATE_SHARE * timing.elapsed_ms:
                return timing.elapsed_ms, timing.result
        raise Untrusted(f"the device was busy for {timing.late_ms:.2f} ms after the forward had ended on its stream")

    def _time(self, model: Callable[..., torch.Tensor], by: Perturbation | None) -> Timing:
        self.refresh(by)
        with torch.no_grad():
            return self.clock.time(lambda: model(*self.given))

    def samples_ms(self, model: Callable[..., torch.Tensor], count: int) -> list[float]:
        """Times of `count` forwards in ms, each on fresh values."""
        return [self.sample_ms(model)[0] for _ in range(count)]
