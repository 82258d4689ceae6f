"""Where a search stands and when it stops."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from tuner.records import Status, Trial


@dataclass(frozen=True)
class Budget:
    """When to stop: trials in all, seconds of this run, trials since the last improvement, what is still expected."""

    trials: int
    time_s: float | None = None
    patience: int | None = None
    least_gain: float = 0.0  # part of the best time; 0 does not stop


@dataclass
class Progress:
    """Where a search stands; handed to the observer after every trial."""

    budget: Budget
    trials: list[Trial] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)  # constraint -> points it refused
    resumed: int = 0  # trials taken over from other runs, earlier ones or at the same time
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    waited_s: float = 0.0  # in which nothing could be measured, for others used the device
    expected_gain: float = math.inf  # the part of the best time that the sampler expects a trial to save
    stopped: str = ""  # "", then trials, time, patience, gain, exhausted or interrupted

    @property
    def best(self) -> Trial | None:
        """The fastest trial so far; None while none is ok."""
        done = [t for t in self.trials if t.evaluation.status is Status.OK]
        return min(done, key=lambda t: t.evaluation.latency_ms, default=None)

    @property
    def best_ms(self) -> float | None:
        best = self.best
        return None if best is None else best.evaluation.latency_ms

    @property
    def failures(self) -> Counter[str]:
        return Counter(t.evaluation.status.value for t in self.trials if t.evaluation.status is not Status.OK)

    @property
    def elapsed_s(self) -> float:
        """Seconds that this run of the search took, or has taken so far; those of waiting are not its own."""
        return (self.ended or time.monotonic()) - self.started - self.waited_s

    @property
    def since_best(self) -> int:
        """Trials since the best one."""
        best = self.best
        return len(self.trials) if best is None else len(self.trials) - 1 - self.trials.index(best)

    @property
    def why_stopped(self) -> str:
        """In words for the screen."""
        if self.stopped == "gain":
            return f"nothing more than {100 * self.budget.least_gain:.2g} % is expected of a trial"
        return self.stopped

    def limit(self) -> str:
        """The limit of the budget that is reached, as `stopped` names it; "" while none is."""
        if len(self.trials) >= self.budget.trials:
            return "trials"
        if self.budget.time_s is not None and self.elapsed_s >= self.budget.time_s and self.trials:
            return "time"
        if self.budget.patience is not None and self.best is not None and self.since_best >= self.budget.patience:
            return "patience"
        if self.expected_gain < self.budget.least_gain:
            return "gain"
        return ""
