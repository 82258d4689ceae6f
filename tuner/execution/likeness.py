"""Whether two devices of one kind are as fast: the same points measured on both."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tuner.records import Evaluation, Performance

POINTS = 3  # that have to agree before anything is said
SAMPLES = 5  # of either measurement, or its quartiles mean nothing
LEAST = 1.03  # a smaller difference is nobody's concern


@dataclass
class Likeness:
    """Collects measurements of the same points on two devices, first and other."""

    asked: int = 0  # points that are measured on the other device, or were
    ratios: list[float] = field(default_factory=list)  # other over first; 1 where the difference is noise

    def wants(self, first: Evaluation) -> bool:
        """Whether a point with this evaluation on the first device should be measured on the other as well."""
        return self.asked < POINTS and first.performance is not None and first.performance.samples >= SAMPLES

    def told(self, first: Evaluation, other: Evaluation) -> str | None:
        """Take in one more point; with the last, how long the other device takes, where all points say the same.

        Such as "1.08 times"; None for devices that are alike as far as the noise lets see.
        """
        if first.performance is None or other.performance is None or other.performance.samples < SAMPLES:
            self.asked -= 1  # another point will tell
            return None
        self.ratios.append(_ratio(first.performance, other.performance))
        if len(self.ratios) < POINTS or not (min(self.ratios) > LEAST or max(self.ratios) < 1 / LEAST):
            return None
        return f"{statistics.median(self.ratios):.2f} times"


def _ratio(first: Performance, other: Performance) -> float:
    apart = other.q25_ms > first.q75_ms or other.q75_ms < first.q25_ms
    return other.latency_ms / first.latency_ms if apart else 1.0
