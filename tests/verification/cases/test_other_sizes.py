"""I: other sizes and constructor's arguments."""

from __future__ import annotations

import pytest
import torch

from tuner.records import CaseResult
from tuner.verification.cases import Case
from tuner.verification.suite import Suite

Cases = dict[str, Case | CaseResult]


def test_every_letter_is_there(cases: Cases) -> None:
    assert {name[0] for name in cases} == set("EFGHIJ")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("I batch 1, A", (1, 3, 6, 8, 10)),
        ("I odd sizes, B", (5, 3, 11, 7, 13)),
        ("I smallest sizes, D", (2, 3, 3, 3, 3)),
    ],
)
def test_the_sizes_are_what_they_say(cases: Cases, suite: Suite, name: str, shape: tuple[int, ...]) -> None:
    case = cases[name]
    assert isinstance(case, Case)
    assert case.inputs[0].shape == shape
    assert case.may_refuse and case.reference is suite.reference


def test_another_number_of_groups_has_a_reference_of_its_own(cases: Cases) -> None:
    case = cases["I one channel a group, C"]
    assert isinstance(case, Case)
    assert case.reference.workload.init == (3, 6, 3, 6)
    norm = case.reference.model.get_submodule("group_norm")
    assert isinstance(norm, torch.nn.GroupNorm) and norm.num_groups == 6


def test_no_work_is_judged_where_a_parameter_is_larger_than_the_result(cases: Cases) -> None:
    case, other = cases["I smallest sizes, A"], cases["I odd sizes, A"]
    assert isinstance(case, Case) and isinstance(other, Case)
    assert case.expected.large is None and other.expected.large is not None
