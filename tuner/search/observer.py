"""Who is told what happens in a search; the command line shows it."""

from __future__ import annotations

from typing import Protocol

from tuner.records import Environment, Performance, Workload
from tuner.search.progress import Progress
from tuner.space import Space


class Observer(Protocol):
    def stage(self, text: str) -> None:
        """What is done now, a line."""

    def workload(self, workload: Workload, space: Space, environment: Environment) -> None: ...

    def eager(self, performance: Performance) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def final(self, done: int, total: int) -> None:
        """How many samples each contestant has, of how many."""
