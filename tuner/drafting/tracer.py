"""The service that traces a problem file in a worker, and its calls.

Light: torch is imported when the service is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.drafting.graph_json import StoredGraph
from tuner.records import Workload
from tuner.workers.protocol import Opening, Report, Request


@dataclass(frozen=True)
class Traced:
    """A graph, and what became of the comparison with the model (as in `compare.Comparison`)."""

    graph: StoredGraph
    compared: Workload | None
    differing: tuple[str, ...]
    sized: tuple[str, ...]


class TracerService(Protocol):
    def own_workload(self) -> Workload: ...
    def trace(self, workload: Workload) -> Traced: ...


@dataclass(frozen=True)
class OpenTracer(Opening[TracerService]):
    problem: Path

    @property
    def subject(self) -> str:
        return str(self.problem)

    def open(self, report: Report) -> TracerService:
        return Tracer(self.problem, report)


@dataclass(frozen=True)
class TracedWorkload(Request[TracerService, Workload]):
    """The workload of the problem's own get_init_inputs and get_inputs. Raises ProblemError."""

    def run(self, service: TracerService) -> Workload:
        return service.own_workload()


@dataclass(frozen=True)
class TraceProblem(Request[TracerService, Traced]):
    """The graph of the problem for this workload, compared with the model. Raises ProblemError."""

    workload: Workload

    def run(self, service: TracerService) -> Traced:
        return service.trace(self.workload)


class Tracer:
    """Implements TracerService."""

    def __init__(self, path: Path, report: Report) -> None:
        from tuner import problem

        self.problem, self.report = problem.load(path), report

    def own_workload(self) -> Workload:
        from tuner import problem

        self.report("inputs")
        return problem.default_workload(self.problem)

    def trace(self, workload: Workload) -> Traced:
        from tuner.drafting.compare import compare
        from tuner.drafting.trace import trace

        self.report("trace")
        graph = trace(self.problem, workload)
        self.report("compare")
        found = compare(self.problem, workload, graph)
        return Traced(graph, found.workload, found.differing, found.sized)
