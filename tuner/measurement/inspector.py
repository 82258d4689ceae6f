"""Services that say what a problem file says of itself, and what this machine is."""

from __future__ import annotations

from pathlib import Path

from tuner import backends, problem
from tuner.records import Environment, Workload


class Inspector:
    """Implements protocol.InspectorService."""

    def __init__(self, path: Path) -> None:
        self.problem = problem.load(path)

    def workload(self) -> Workload:
        return problem.default_workload(self.problem)

    def require(self, workload: Workload) -> None:
        """Raise ProblemError unless the reference takes this workload, with parameters that kernels take."""
        problem.require_parameters(self.problem, problem.require_takes(self.problem, workload), workload)


class Machine:
    """Implements protocol.MachineService."""

    def environment(self, torch_device: str) -> Environment:
        return backends.of(torch_device).environment()
