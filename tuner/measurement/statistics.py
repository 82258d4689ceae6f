"""Summing up timings, and comparing two sets of interleaved ones."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence

from tuner.records import Performance

RESAMPLES = 1000


def paired_speedup(
    ours: Sequence[float], theirs: Sequence[float], rounds: Sequence[int] = (), seed: int = 0
) -> tuple[float, float, float]:
    """Median of the paired ratios theirs/ours with its 95 % bootstrap interval: (speed-up, low, high).

    `ours` and `theirs` are times in one unit. Sample i of both was taken at about the same
    moment, so that drift of the clocks cancels in the ratio. If one side has more samples,
    its last ones are ignored. The interval is a percentile bootstrap (Efron 1979) with a
    fixed seed: the same measurements always give the same interval. `rounds` says how many
    consecutive samples belong to each round. Those share its conditions, so the bootstrap
    draws whole rounds; samples beyond the last round are drawn one by one.
    """
    ratios = [b / a for a, b in zip(ours, theirs, strict=False)]
    left = iter(ratios)
    groups = [g for size in rounds if (g := list(itertools.islice(left, size)))] + [[ratio] for ratio in left]
    rng = random.Random(seed)
    medians = sorted(
        statistics.median(itertools.chain.from_iterable(rng.choices(groups, k=len(groups)))) for _ in range(RESAMPLES)
    )
    low, high = medians[round(0.025 * (RESAMPLES - 1))], medians[round(0.975 * (RESAMPLES - 1))]
    return statistics.median(ratios), low, high


class Untrusted(Exception):
    """A measurement that cannot be believed; the text says why."""


def summarise(times_ms: Sequence[float]) -> Performance:
    """Median and quartiles of times in ms. Raises Untrusted for a time that is not positive and finite."""
    if not times_ms or not all(math.isfinite(t) and t > 0 for t in times_ms):
        raise Untrusted(f"measured times are not positive and finite: {list(times_ms)[:3]}")
    if len(times_ms) == 1:
        q25 = median = q75 = times_ms[0]
    else:
        q25, median, q75 = statistics.quantiles(times_ms, n=4, method="inclusive")
    return Performance(latency_ms=median, q25_ms=q25, q75_ms=q75, samples=len(times_ms))
