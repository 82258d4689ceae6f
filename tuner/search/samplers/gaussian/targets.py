"""What the model learns in place of times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.search.samplers.gaussian.grid import Matrix

FAR = 0.7  # logarithm of the ratio to the best time above which times are compressed, for they only have to be bad
FAILED = 0.9  # a failure counts as this quantile of the times


def targets(times: Sequence[float]) -> Matrix:
    """Logarithms of the times, failures (infinite) at a bad one, what is far above the best compressed.

    One time at least is finite.
    """
    ms = np.array(times)
    ok = np.isfinite(ms)
    logs = np.log(np.where(ok, ms, 1.0))
    logs = np.where(ok, logs, np.quantile(logs[ok], FAILED))
    best = logs.min()
    found: Matrix = np.minimum(logs, best + FAR) + 0.3 * np.log1p(np.maximum(logs - best - FAR, 0))
    return found
