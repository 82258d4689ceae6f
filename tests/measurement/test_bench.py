"""A bench without a candidate: what everything but the forwards costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.problems import write_problem

from tuner import problem
from tuner.measurement.judging import Judging
from tuner.measurement.protocol import OpenBench, RunForwards
from tuner.verification.papers import Values
from tuner.workers.worker import Worker


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forward", "sizes"),
    [("return x * 2", [16 * 8 * 4]), ("return x * 2, (x.sum(1), x > 0)", [16 * 8 * 4, 16 * 4, 128])],
)
def test_without_a_candidate_as_many_tensors_are_given_as_answers_have(
    tmp_path: Path, forward: str, sizes: list[int]
) -> None:
    loaded = write_problem(tmp_path, forward)
    judging = Judging(loaded.path, problem.default_workload(loaded), "cpu", 11, 8.0, tmp_path / "papers")
    prepared = judging.prepare()
    plan = judging.plan(3, Values.MARKED)
    with Worker(OpenBench("cpu", tmp_path / "extensions")) as bench:
        ran = bench.call(RunForwards(None, prepared.timed, plan, tmp_path), 60.0)
    assert ran.fault == ""
    assert [[tensor.shape for tensor in answer.tensors] for answer in ran.kept] == 3 * [[(size,) for size in sizes]]
