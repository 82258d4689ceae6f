"""Calls of the bench: it runs candidates and times them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import Field

from tuner.measurement.protocol.answer import Answer
from tuner.verification.papers import (
    Construction,
    GivenAnswer,
    GivenTensor,
    Paper,
    Plan,
    Sitting,
    TimedPaper,
)
from tuner.workers.protocol import Opening, Report, Request


class Loaded(Answer):
    """A candidate's parameters, or with `fault` why it could not be loaded."""

    parameters: dict[str, GivenTensor] = Field(default_factory=dict)
    fault: str = ""


class Sampled(Answer):
    """Times in ms, the answers that were kept, and with `fault` why they count for nothing."""

    times_ms: list[float] = Field(default_factory=list)
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
