"""Before a search starts, the suite has to reject the mutants of its problem; that it did is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.tiny import HERE

from tuner.errors import UnjudgeableError
from tuner.measurement.protocol import SelfCheckAnswer
from tuner.records import Floor, TensorSpec, Workload
from tuner.search.run import Run, runs_folder

WORKLOAD = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))


class Station:
    """Answers a self-check, and counts how often."""

    def __init__(self, missed: tuple[str, ...] = ()) -> None:
        self.missed, self.asked = list(missed), 0

    def self_check(self) -> SelfCheckAnswer:
        self.asked += 1
        return SelfCheckAnswer(caught={}, missed=self.missed, left_out={})


def search_starts(station: Station, cache: Path, budget: float = 8.0, sha: str = "0" * 64) -> None:
    runs_folder(cache).mkdir(exist_ok=True)
    floor = Floor(bytes=1, flops=1, memory_ms=0.0, compute_ms=0.0, ceilings={})
    told = SimpleNamespace(environment=HERE, problem_sha256=sha, floor=floor)
    settings = SimpleNamespace(error_budget=budget)
    stage = SimpleNamespace(stage=lambda text: None)
    parts: Any = (settings, None, Path("problem.py"), WORKLOAD, station, cache, stage, told)
    Run(*parts).require_a_suite_that_judges()


def test_a_search_refuses_to_start_and_names_the_mutant(tmp_path: Path) -> None:
    for _ in range(2):  # and says so again the next time
        with pytest.raises(UnjudgeableError, match="the suite finds nothing wrong with zeros, bf16 ") as caught:
            search_starts(Station(("zeros", "bf16")), tmp_path)
        assert "\n" not in str(caught.value)


def test_a_self_check_is_remembered(tmp_path: Path) -> None:
    station = Station()
    search_starts(station, tmp_path)
    search_starts(station, tmp_path)
    assert station.asked == 1
    assert json.loads(next(tmp_path.rglob("self-check-*.json")).read_text())["missed"] == []


@pytest.mark.parametrize(("budget", "sha"), [(16.0, "0" * 64), (8.0, "1" * 64)])
def test_another_problem_or_budget_is_checked_again(tmp_path: Path, budget: float, sha: str) -> None:
    station = Station()
    search_starts(station, tmp_path)
    search_starts(station, tmp_path, budget, sha)
    assert station.asked == 2
