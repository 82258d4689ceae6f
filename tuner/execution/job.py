"""What every process of a search needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.measurement.protocol import OpenBaseline, OpenBench, OpenJudge
from tuner.records import Workload
from tuner.template.render import Candidate

EXTENSIONS = "extensions"  # where candidates are built, in a search's folder
PREPARE_DEADLINE_S = 600.0  # of whatever runs the reference alone


def candidate_path(folder: Path, candidate: Candidate) -> Path:
    """Its file in a search's folder."""
    return folder / f"{candidate.sha256}.py"


@dataclass(frozen=True)
class Job:
    """One problem and workload on one device. `seed` is secret from candidates."""

    problem: Path
    workload: Workload
    torch_device: str  # "cpu", "cpu:0-3", "cuda:0"
    seed: int
    error_budget: float
    environment: Mapping[str, str]  # of the processes: where the toolchain is
    compile_timeout_s: float = PREPARE_DEADLINE_S
    run_timeout_s: float = PREPARE_DEADLINE_S
    capability: tuple[int, int] | None = None  # to compile for; None on a CPU

    def judge(self, folder: Path) -> OpenJudge:
        """The service that judges; it writes papers into a folder of `folder`."""
        return OpenJudge(
            self.problem, self.workload, self.torch_device, self.seed, self.error_budget, folder / "papers"
        )

    def bench(self, folder: Path) -> OpenBench:
        """The service that runs candidates, which build in `folder`."""
        return OpenBench(self.torch_device, folder / EXTENSIONS)

    def baseline(self, way: str) -> OpenBaseline:
        return OpenBaseline(self.problem, self.workload, self.torch_device, self.seed, way)
