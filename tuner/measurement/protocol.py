"""What worker processes are asked about a problem: each service, how it is opened, and its requests.

Light: torch is imported when a service is opened, in the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from tuner.records import Correctness, Environment, Evaluation, Floor, Workload
from tuner.workers.protocol import Opening, Report, Request


class Answer(BaseModel):
    """What a service answers when it is more than one value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---- a problem file, and this machine -----------------------------------------------------------


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


# ---- the session: verifies and times candidates on one device -----------------------------------


class Description(Answer):
    """What a search has to know first."""

    environment: Environment
    problem_sha256: str
    floor: Floor


class SelfCheckAnswer(Answer):
    """What became of the mutants: those caught, with the case; those missed; those left out, with the reason."""

    caught: dict[str, str]
    missed: list[str]
    left_out: dict[str, str]


class TrialAnswer(Answer):
    """One trial's outcome, and whether the process is as it was and may measure the next."""

    evaluation: Evaluation
    healthy: bool


class SessionService(Protocol):
    def describe(self) -> Description: ...

    def prepare(self) -> None: ...

    def self_check(self) -> SelfCheckAnswer: ...

    def trial(self, path: Path, sha256: str, best_ms: float | None, floor_ms: float) -> TrialAnswer: ...

    def verify(self, path: Path, sha256: str, thoroughly: bool) -> Correctness: ...

    def enter(self, name: str, path: Path, sha256: str) -> None: ...

    def sample(self, name: str, count: int) -> list[float]: ...

    def settle(self, name: str, latency_ms: float, floor_ms: float) -> None: ...


@dataclass(frozen=True)
class OpenSession(Opening[SessionService]):
    """`seed` is the main process's secret for verification values; candidates build in `extensions`."""

    problem: Path
    workload: Workload
    torch_device: str
    seed: int
    error_budget: float
    extensions: Path

    def open(self, report: Report) -> SessionService:
        from tuner.measurement.session import Session

        return Session(
            self.problem, self.workload, self.torch_device, self.seed, self.error_budget, self.extensions, report
        )


@dataclass(frozen=True)
class Describe(Request[SessionService, Description]):
    def run(self, service: SessionService) -> Description:
        return service.describe()


@dataclass(frozen=True)
class Prepare(Request[SessionService, None]):
    """Have the oracle and the reference's error computed for every case."""

    def run(self, service: SessionService) -> None:
        service.prepare()


@dataclass(frozen=True)
class CheckSuite(Request[SessionService, SelfCheckAnswer]):
    """Send the mutants through the suite."""

    def run(self, service: SessionService) -> SelfCheckAnswer:
        return service.self_check()


@dataclass(frozen=True)
class MeasureTrial(Request[SessionService, TrialAnswer]):
    """Load, verify and time the candidate at `path`; times in ms."""

    path: Path
    sha256: str
    best_ms: float | None
    floor_ms: float

    def run(self, service: SessionService) -> TrialAnswer:
        return service.trial(self.path, self.sha256, self.best_ms, self.floor_ms)


@dataclass(frozen=True)
class VerifyFile(Request[SessionService, Correctness]):
    """The cases of a trial for one file, or with `thoroughly` all there are."""

    path: Path
    sha256: str
    thoroughly: bool

    def run(self, service: SessionService) -> Correctness:
        return service.verify(self.path, self.sha256, self.thoroughly)


@dataclass(frozen=True)
class EnterFinal(Request[SessionService, None]):
    """Load a finalist and warm it up."""

    name: str
    path: Path
    sha256: str

    def run(self, service: SessionService) -> None:
        service.enter(self.name, self.path, self.sha256)


@dataclass(frozen=True)
class SampleFinalist(Request[SessionService, list[float]]):
    """So many timings of a finalist, in ms."""

    name: str
    count: int

    def run(self, service: SessionService) -> list[float]:
        return service.sample(self.name, self.count)


@dataclass(frozen=True)
class SettleFinalist(Request[SessionService, None]):
    """Raises a fault unless a finalist's time is believable and it is still right when timed."""

    name: str
    latency_ms: float
    floor_ms: float

    def run(self, service: SessionService) -> None:
        service.settle(self.name, self.latency_ms, self.floor_ms)


# ---- a baseline: the reference run one way ------------------------------------------------------


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
