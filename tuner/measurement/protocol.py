"""What worker processes are asked about a problem: each service, how it is opened, and its requests.

Light: torch is imported when a service is opened, in the worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from tuner.records import CaseResult, Correctness, Environment, Floor, Workload
from tuner.verification.papers import (
    Construction,
    GivenAnswer,
    GivenTensor,
    Paper,
    Plan,
    Sitting,
    TimedPaper,
    Values,
)
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


# ---- the judge: sets papers and marks answers ---------------------------------------------------


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


class NextPaper(Answer):
    """The next paper and the case it is of, which no candidate is told; None when all have been set."""

    paper: Paper | None
    case: str


class JudgeService(Protocol):
    def describe(self) -> Description: ...

    def prepare(self) -> Preparation: ...

    def self_check(self) -> SelfCheckAnswer: ...

    def layout_fault(self, parameters: dict[str, GivenTensor]) -> str: ...

    def parameters_fault(self, sitting: Sitting, folder: Path) -> str: ...

    def begin(self, complete: bool) -> None: ...

    def next_paper(self) -> NextPaper: ...

    def mark(self, sitting: Sitting, folder: Path) -> CaseResult: ...

    def verdict(self) -> Correctness: ...

    def plan(self, forwards: int, values: Values) -> Plan: ...

    def mark_timed(self, plan: Plan, kept: tuple[GivenAnswer, ...], folder: Path) -> str: ...

    def sanitize(self, path: Path) -> list[CaseResult]: ...


@dataclass(frozen=True)
class OpenJudge(Opening[JudgeService]):
    """`seed` is secret from candidates; papers are written into `folder`."""

    problem: Path
    workload: Workload
    torch_device: str
    seed: int
    error_budget: float
    folder: Path

    def open(self, report: Report) -> JudgeService:
        from tuner.measurement.judging import Judging

        return Judging(
            self.problem, self.workload, self.torch_device, self.seed, self.error_budget, self.folder, report
        )


@dataclass(frozen=True)
class Describe(Request[JudgeService, Description]):
    def run(self, service: JudgeService) -> Description:
        return service.describe()


class Preparation(Answer):
    """How candidates are built, and the values that forwards are timed on."""

    construction: Construction
    timed: TimedPaper
    launch: Paper  # the first case's


@dataclass(frozen=True)
class Prepare(Request[JudgeService, Preparation]):
    """Have the oracle and the reference's error computed for every case of a trial."""

    def run(self, service: JudgeService) -> Preparation:
        return service.prepare()


@dataclass(frozen=True)
class CheckSuite(Request[JudgeService, SelfCheckAnswer]):
    """Send the mutants through the suite."""

    def run(self, service: JudgeService) -> SelfCheckAnswer:
        return service.self_check()


@dataclass(frozen=True)
class LayoutFault(Request[JudgeService, str]):
    """How names, order, shapes or dtypes of a candidate's parameters differ from the reference's; "" for not at all."""

    parameters: dict[str, GivenTensor]

    def run(self, service: JudgeService) -> str:
        return service.layout_fault(self.parameters)


@dataclass(frozen=True)
class ParametersFault(Request[JudgeService, str]):
    """The same for their initial values, which were given as an answer into `folder`."""

    sitting: Sitting
    folder: Path

    def run(self, service: JudgeService) -> str:
        return service.parameters_fault(self.sitting, self.folder)


@dataclass(frozen=True)
class BeginExam(Request[JudgeService, None]):
    """The cases of a trial, or with `complete` all there are."""

    complete: bool

    def run(self, service: JudgeService) -> None:
        service.begin(self.complete)


@dataclass(frozen=True)
class AskPaper(Request[JudgeService, NextPaper]):
    def run(self, service: JudgeService) -> NextPaper:
        return service.next_paper()


@dataclass(frozen=True)
class Mark(Request[JudgeService, CaseResult]):
    """Mark what became of the last paper; its answers lie in `folder`."""

    sitting: Sitting
    folder: Path

    def run(self, service: JudgeService) -> CaseResult:
        return service.mark(self.sitting, self.folder)


@dataclass(frozen=True)
class AskVerdict(Request[JudgeService, Correctness]):
    def run(self, service: JudgeService) -> Correctness:
        return service.verdict()


@dataclass(frozen=True)
class AskPlan(Request[JudgeService, Plan]):
    """Values for so many forwards."""

    forwards: int
    values: Values

    def run(self, service: JudgeService) -> Plan:
        return service.plan(self.forwards, self.values)


@dataclass(frozen=True)
class MarkTimed(Request[JudgeService, str]):
    """What is wrong with the answers that were kept of a plan's forwards; "" when they are right."""

    plan: Plan
    kept: tuple[GivenAnswer, ...]
    folder: Path

    def run(self, service: JudgeService) -> str:
        return service.mark_timed(self.plan, self.kept, self.folder)


@dataclass(frozen=True)
class Sanitize(Request[JudgeService, list[CaseResult]]):
    """compute-sanitizer's checks of a file, in processes of their own."""

    path: Path

    def run(self, service: JudgeService) -> list[CaseResult]:
        return service.sanitize(self.path)


# ---- the bench: runs candidates and times them --------------------------------------------------


class Loaded(Answer):
    """A candidate's parameters, or with `fault` why it could not be loaded."""

    parameters: dict[str, GivenTensor] = {}
    fault: str = ""


class Sampled(Answer):
    """Times in ms, the answers that were kept, and with `fault` why they count for nothing."""

    times_ms: list[float] = []
    kept: tuple[GivenAnswer, ...] = ()
    fault: str = ""


class BenchService(Protocol):
    def load(self, seat: str, path: Path, sha256: str, construction: Construction) -> Loaded: ...

    def parameters(self, seat: str, construction: Construction, folder: Path) -> Sitting: ...

    def launch(self, seat: str, paper: Paper) -> str: ...

    def sit(self, seat: str, paper: Paper, folder: Path) -> Sitting: ...

    def sample(
        self, seat: str, paper: TimedPaper, plan: Plan, folder: Path, uneven: bool, beside: str | None
    ) -> Sampled: ...

    def run(self, seat: str | None, paper: TimedPaper, plan: Plan, folder: Path) -> Sampled: ...

    def rename(self, seat: str, to: str) -> None: ...

    def is_as_it_was(self) -> bool: ...


@dataclass(frozen=True)
class OpenBench(Opening[BenchService]):
    """Candidates build in `extensions`."""

    torch_device: str
    extensions: Path

    def open(self, report: Report) -> BenchService:
        from tuner.measurement.bench import Bench
        from tuner.workers.confinement import confine

        confine()
        return Bench(self.torch_device, self.extensions, report)


@dataclass(frozen=True)
class Load(Request[BenchService, Loaded]):
    """Load the candidate of a file into a seat, in the place of who sat there."""

    seat: str
    path: Path
    sha256: str
    construction: Construction

    def run(self, service: BenchService) -> Loaded:
        return service.load(self.seat, self.path, self.sha256, self.construction)


@dataclass(frozen=True)
class AskParameters(Request[BenchService, Sitting]):
    """A new model's parameters and buffers, given into `folder`."""

    seat: str
    construction: Construction
    folder: Path

    def run(self, service: BenchService) -> Sitting:
        return service.parameters(self.seat, self.construction, self.folder)


@dataclass(frozen=True)
class Launch(Request[BenchService, str]):
    """The first call of a candidate: what it did wrong, or ""."""

    seat: str
    paper: Paper

    def run(self, service: BenchService) -> str:
        return service.launch(self.seat, self.paper)


@dataclass(frozen=True)
class Sit(Request[BenchService, Sitting]):
    """Have a candidate answer one paper, into `folder`."""

    seat: str
    paper: Paper
    folder: Path

    def run(self, service: BenchService) -> Sitting:
        return service.sit(self.seat, self.paper, self.folder)


@dataclass(frozen=True)
class Sample(Request[BenchService, Sampled]):
    """Time a forward for each value of the plan, or of its uneven inputs; after each forward of `beside`, if any."""

    seat: str
    paper: TimedPaper
    plan: Plan
    folder: Path
    uneven: bool = False
    beside: str | None = None

    def run(self, service: BenchService) -> Sampled:
        return service.sample(self.seat, self.paper, self.plan, self.folder, self.uneven, self.beside)


@dataclass(frozen=True)
class RunForwards(Request[BenchService, Sampled]):
    """The plan's forwards one after the other; without a seat all but the forwards."""

    seat: str | None
    paper: TimedPaper
    plan: Plan
    folder: Path

    def run(self, service: BenchService) -> Sampled:
        return service.run(self.seat, self.paper, self.plan, self.folder)


@dataclass(frozen=True)
class Rename(Request[BenchService, None]):
    """Another seat for a candidate, in the place of who sat there."""

    seat: str
    to: str

    def run(self, service: BenchService) -> None:
        service.rename(self.seat, self.to)


@dataclass(frozen=True)
class IsAsItWas(Request[BenchService, bool]):
    """Whether the process and its device may run another candidate."""

    def run(self, service: BenchService) -> bool:
        return service.is_as_it_was()


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
