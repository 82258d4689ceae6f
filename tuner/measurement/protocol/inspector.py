"""Calls of what says what a problem file says of itself, and what this machine is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.records import Environment, Workload
from tuner.workers.protocol import Opening, Report, Request


class InspectorService(Protocol):
    """Says what a problem file says of itself, and what this machine is."""

    def workload(self) -> Workload: ...

    def require(self, workload: Workload) -> None: ...


@dataclass(frozen=True)
class OpenInspector(Opening[InspectorService]):
    problem: Path

    def open(self, report: Report) -> InspectorService:
        from tuner.measurement.inspector import Inspector

        return Inspector(self.problem)


@dataclass(frozen=True)
class OwnWorkload(Request[InspectorService, Workload]):
    """The workload of the problem's own get_init_inputs and get_inputs. Raises ProblemError."""

    def run(self, service: InspectorService) -> Workload:
        return service.workload()


@dataclass(frozen=True)
class RequireWorkload(Request[InspectorService, None]):
    """Raises ProblemError unless the reference takes this workload."""

    workload: Workload

    def run(self, service: InspectorService) -> None:
        service.require(self.workload)


class MachineService(Protocol):
    """Says what this machine is, as a measurement would see it."""

    def environment(self, torch_device: str) -> Environment: ...


@dataclass(frozen=True)
class OpenMachine(Opening[MachineService]):
    def open(self, report: Report) -> MachineService:
        from tuner.measurement.inspector import Machine

        return Machine()


@dataclass(frozen=True)
class DeviceEnvironment(Request[MachineService, Environment]):
    torch_device: str

    def run(self, service: MachineService) -> Environment:
        return service.environment(self.torch_device)
