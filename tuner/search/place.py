"""Where a search runs: what it finds to compile with, and who measures its trials."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from tuner import backends
from tuner.execution.compilers import Compilers
from tuner.execution.job import Job
from tuner.execution.pipeline import Pipeline
from tuner.execution.spread import Spread

if TYPE_CHECKING:
    from tuner.search.run import Run


class Place(Protocol):
    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        """The pool, for as long as the trials last."""

    def trials(self, run: Run, pipeline: Pipeline) -> AbstractContextManager[Pipeline | Spread]:
        """Who measures: the pipeline of the search's own device, or that one and others."""


class Alone:
    """One device, and a pool for this search alone."""

    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        size = backends.of(job.torch_device).compile_processes()
        return contextlib.closing(Compilers(size, job.environment, job.torch_device))

    def trials(self, run: Run, pipeline: Pipeline) -> AbstractContextManager[Pipeline]:
        return contextlib.closing(pipeline)
