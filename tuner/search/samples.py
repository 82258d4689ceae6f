"""The samples of a final, and whom they name."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tuner.measurement.statistics import paired_speedup, summarise
from tuner.records import Comparison, Performance
from tuner.search.ties import Simplicity, simplest_of_ties


@dataclass
class Samples:
    """Times in ms of each contestant by name, and how many of them each round took."""

    times: dict[str, list[float]] = field(default_factory=dict)
    rounds: list[int] = field(default_factory=list)

    def median_ms(self, name: str) -> float:
        return statistics.median(self.times[name])

    def performance(self, name: str) -> Performance:
        return summarise(self.times[name])

    def compared(self, winner: str, other: str) -> Comparison:
        speedup, low, high = paired_speedup(self.times[winner], self.times[other], self.rounds)
        return Comparison(
            name=other, performance=self.performance(other), speedup=speedup, speedup_low=low, speedup_high=high
        )

    def ranked(self, names: Iterable[str]) -> list[str]:
        """By median, of those sampled to the end: who was dropped was sampled under earlier conditions alone."""
        names = list(names)
        most = max(len(self.times[name]) for name in names)
        return sorted((name for name in names if len(self.times[name]) == most), key=self.median_ms)

    def winner(self, finalists: Mapping[str, Simplicity]) -> str:
        """The fastest, or the simplest of those that tie with it."""
        ranked = self.ranked(finalists)
        rows = []
        for name in ranked:
            _, low, _ = paired_speedup(self.times[ranked[0]], self.times[name], self.rounds)
            rows.append((name, low))
        return simplest_of_ties(rows, finalists)
