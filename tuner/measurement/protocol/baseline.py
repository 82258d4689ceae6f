"""Calls of a baseline: the reference run one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.records import Workload
from tuner.workers.protocol import Opening, Report, Request


class BaselineService(Protocol):
    def warm(self) -> None: ...

    def sample(self, count: int) -> list[float]: ...


@dataclass(frozen=True)
class OpenBaseline(Opening[BaselineService]):
    """`way` is one of the baselines of a config: eager, compile, …"""

    problem: Path
    workload: Workload
    torch_device: str
    seed: int
    way: str

    def open(self, report: Report) -> BaselineService:
        from tuner.measurement.baselines import Baseline

        return Baseline(self.problem, self.workload, self.torch_device, self.seed, self.way, report)


@dataclass(frozen=True)
class WarmBaseline(Request[BaselineService, None]):
    def run(self, service: BaselineService) -> None:
        service.warm()


@dataclass(frozen=True)
class SampleBaseline(Request[BaselineService, list[float]]):
    """So many timings of the reference, in ms."""

    count: int

    def run(self, service: BaselineService) -> list[float]:
        return service.sample(self.count)
