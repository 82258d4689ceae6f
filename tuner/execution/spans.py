"""How long each phase of a trial took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Literal

from tuner.records import Span

Phase = Literal["compile", "wait", "load", "verify", "benchmark"]


class Spans:
    """The phases of one trial, in the order in which they ended."""

    def __init__(self) -> None:
        self.taken: list[Span] = []

    @contextlib.contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """What happens inside is this phase, however it ends."""
        began, started = time.time(), time.perf_counter()
        try:
            yield
        finally:
            self.taken.append(Span(phase=phase, began=began, seconds=time.perf_counter() - started))
