"""Comparing two sets of interleaved timings."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

RESAMPLES = 1000


def paired_speedup(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median of the paired ratios theirs/ours with its 95 % bootstrap interval: (speed-up, low, high).

    Sample i of both was taken in the same round, so drift of the clocks cancels
    in the ratio. Percentile bootstrap (Efron 1979) with a fixed seed: the same
    measurements always give the same interval. Surplus samples of one side are ignored.
    """
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    low, high = medians[round(0.025 * (RESAMPLES - 1))], medians[round(0.975 * (RESAMPLES - 1))]
    return statistics.median(ratios), low, high
