"""Evaluating: the physical floor by hand, how often something is sampled, and whom a final does not believe."""

from __future__ import annotations

import pytest
from helpers.tricks import CONTROL, Bench

from tuner import problem
from tuner.measurement import session as evaluate
from tuner.measurement.statistics import Untrusted
from tuner.records import TensorSpec, Workload
from tuner.verification.suite import Wrong

LINEAR = """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(x)


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return [8, 16]
"""
CEILINGS = {"read_gbps": 10.0, "fp32_tflops": 1.0, "tf32_tflops": 2.0}
INPUT, WEIGHT, BIAS, RESULT = 4 * 8, 16 * 8, 16, 4 * 16  # elements


@pytest.fixture
def floor(tmp_path):
    """The floor of a Linear from 8 to 16 on `batch` rows."""
    path = tmp_path / "problem.py"
    path.write_text(LINEAR)

    def floor(torch_device: str, batch: int = 4):
        workload = Workload(init=(8, 16), inputs=(TensorSpec(shape=(batch, 8)),))
        return evaluate.floor(problem.load(path), workload, CEILINGS, torch_device)

    return floor


def test_the_floor_moves_everything_once(floor):
    found = floor("cuda:0")
    assert found.bytes == 4 * (INPUT + WEIGHT + BIAS + RESULT)
    assert found.memory_ms == pytest.approx(found.bytes / 10e9 * 1e3)


def test_the_floor_computes_at_the_fastest_rate(floor):
    found = floor("cuda:0")
    assert found.flops == 2 * RESULT * 8
    assert found.compute_ms == pytest.approx(found.flops / 2e12 * 1e3)


def test_what_a_cpu_may_hold_in_its_caches_has_no_floor_of_memory(floor):
    found = floor("cpu")
    assert found.memory_ms == 0 and found.floor_ms == found.compute_ms > 0


def test_what_no_cache_holds_has_one_on_a_cpu_too(floor):
    found = floor("cpu", batch=2**24)
    assert found.floor_ms == found.memory_ms == pytest.approx(found.bytes / 10e9 * 1e3)


@pytest.mark.parametrize(
    ("one_ms", "count"),
    [(1.0, 10), (200.0, 10), (250.0, 8), (1000.0, 3), (60_000.0, 3)],
)
def test_a_slow_forward_is_sampled_for_a_time_and_thrice_at_least(one_ms, count):
    assert evaluate._count(10, 2.0, one_ms) == count


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session with one right finalist entered, by the name `right`."""
    bench = Bench("gn_mean", tmp_path_factory.mktemp("bench"))
    path, sha256 = bench.file(CONTROL)
    bench.session.enter("right", str(path), sha256)
    return bench.session


def test_a_right_finalist_with_a_likely_time_is_settled(session):
    session.settle("right", 1.0, 1.9)  # on a CPU half a floor is taken as proof


def test_a_finalist_below_its_floor_is_refused(session):
    with pytest.raises(Untrusted, match=r"measured 1\.0000 ms, below the physical floor of 2\.1000 ms"):
        session.settle("right", 1.0, 2.1)


def test_a_finalist_that_is_wrong_when_timed_is_refused(session):
    right = session.contestants["right"]
    session.contestants["wrong"] = lambda x: right(x) + 1
    with pytest.raises(Wrong, match="right when it was verified, wrong when it was timed"):
        session.settle("wrong", 1.0, 0.0)


def test_a_finalist_that_returns_a_result_of_before_is_refused(session):
    """Even the right one: what a forward returned is overwritten ahead of the next."""
    kept = session.contestants["right"](*session.suite.cases[0].inputs)
    session.contestants["kept"] = lambda x: kept
    with pytest.raises(Wrong):
        session.settle("kept", 1.0, 0.0)
