"""Calls of what says what a problem file says of itself, and what this machine is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuner.records import Environment, TensorSpec, Workload
from tuner.workers.protocol import Opening, Report, Request


class InspectorService(Protocol):
    """Says what a problem file says of itself, and what this machine is."""

    def workload(self) -> Workload: ...

    def require(self, workload: Workload) -> None: ...

    def interface(self, workload: Workload) -> InterfaceAnswer: ...


@dataclass(frozen=True)
class OpenInspector(Opening[InspectorService]):
    problem: Path

    @property
    def subject(self) -> str:
        return str(self.problem)

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


@dataclass(frozen=True)
class InterfaceAnswer:
    """Names and specs of parameters and buffers in the order of the state_dict, and the specs of the results."""

    names: list[str]
    state: list[TensorSpec]
    outputs: list[TensorSpec]


@dataclass(frozen=True)
class DescribeInterface(Request[InspectorService, InterfaceAnswer]):
    """Raises ProblemError unless the reference takes this workload."""

    workload: Workload

    def run(self, service: InspectorService) -> InterfaceAnswer:
        return service.interface(self.workload)


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
