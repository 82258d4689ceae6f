"""E to G: constant, tiny, huge and non-finite inputs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch
from helpers.suites import by_name, judged

from tuner import problem
from tuner.records import CaseResult
from tuner.verification.cases import Case
from tuner.verification.cases.draw import Draw, judgeable
from tuner.verification.suite import Suite

Cases = dict[str, Case | CaseResult]


def inputs(case: Case | CaseResult) -> torch.Tensor:
    assert isinstance(case, Case)
    return case.inputs[0]


def test_constant_inputs_are_constant(cases: Cases) -> None:
    assert inputs(cases["E constant"]).unique().tolist() == [0.5]
    assert inputs(cases["E all zero"]).unique().tolist() == [0.0]


def test_denormals_are(cases: Cases) -> None:
    x = inputs(cases["F denormals"])
    assert 0 < x.abs().max() < torch.finfo(torch.float32).smallest_normal


def test_only_the_sample_with_nan_is_nan(cases: Cases) -> None:
    case = cases["G NaN in one sample"]
    assert isinstance(case, Case)
    assert case.expected.main.oracle.isnan().tolist() == [False, False, True, False]


def test_the_last_element_of_a_sample_is_nan_in_a_case(cases: Cases) -> None:
    places = inputs(cases["G NaN ends one sample"]).isnan().flatten(1).nonzero().tolist()
    assert places == [[2, inputs(cases["G NaN ends one sample"])[0].numel() - 1]]


def test_nan_that_reaches_other_samples_is_caught(cases: Cases) -> None:
    assert not judged(cases["G NaN in one sample"], lambda own, x: own(x) + x.sum() * 0).ok


def test_nan_that_is_lost_is_caught(cases: Cases) -> None:
    assert not judged(cases["G NaN in one sample"], lambda own, x: own(x.nan_to_num())).ok


def test_the_largest_magnitude_is_judged_that_the_reference_bears(cases: Cases) -> None:
    case = cases["F magnitude"]
    assert isinstance(case, Case)
    largest = inputs(case).abs().max().item()
    assert 1e8 < largest <= 1e18
    assert case.note == "" if largest > 1e17 else case.note.startswith("not judged at 1e+18: ")


OVERFLOWING = """\
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return x ** 3


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return []
"""


def test_where_the_reference_overflows_a_lesser_magnitude_is_judged_and_said(tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    path.write_text(OVERFLOWING)
    cubed = problem.load(path)
    case = by_name(Suite(cubed, problem.default_workload(cubed), "cpu", 1))["F magnitude"]
    assert isinstance(case, Case)
    assert case.note == "not judged at 1e+18: the reference itself is not right there; judged at 1e+12"


def test_overflow_is_caught_where_the_reference_holds(cases: Cases) -> None:
    case = cases["F magnitude"]
    scale = inputs(case).abs().max()
    assert judged(case, lambda own, x: own(x)).ok
    assert not judged(case, lambda own, x: own(x.clamp(max=scale / 2))).ok


def test_a_case_on_which_the_reference_fails_is_only_said(suite: Suite) -> None:
    case = Draw(suite.reference, 1, 4).case("X", suite.cases[0].inputs)
    assert judgeable(case) is case
    bad = dataclasses.replace(case, expected=case.expected.with_errors([math.inf], [math.inf]))
    said = "not judged: the float32 reference itself is not right here"
    assert judgeable(bad) == CaseResult(name="X", ok=True, detail=said)
