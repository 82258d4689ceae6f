"""The reference's own error by precision class."""

from __future__ import annotations

import pytest
import torch
from helpers.tricks import problem_path, workload

from tuner import problem
from tuner.records import Precision
from tuner.verification.reference import Reference


def make_reference(precision: Precision = "match", error_budget: float = 8.0) -> Reference:
    torch.set_num_threads(1)
    wanted = workload("gn_min_bias").with_precision(precision)
    return Reference(problem.load(problem_path("gn_min_bias")), wanted, "cpu", 5, error_budget)


def error(precision: Precision) -> float:
    reference = make_reference(precision)
    return reference.expectation(reference.state, reference.inputs(6)).main.reference_error


def test_a_cpu_knows_no_tf32() -> None:
    assert error("match") == error("ieee") < 1e-5


def test_what_tf32_costs_is_allowed_in_its_class() -> None:
    assert error("tf32") > 10 * error("ieee")


def test_the_oracle_is_in_float64() -> None:
    reference = make_reference()
    inputs = reference.inputs(6)
    (oracle,) = reference.oracle(reference.state, inputs).tensors
    assert oracle.dtype == torch.float64
    assert torch.allclose(oracle.float(), reference.eager(reference.state, inputs).tensors[0], atol=1e-4)


@pytest.mark.parametrize("precision", ["match", "tf32"])
def test_an_expectation_leaves_the_parameters_as_its_state_says(precision: Precision) -> None:
    reference = make_reference(precision)
    state = {name: value + 1 for name, value in reference.state.items()}
    reference.expectation(state, reference.inputs(6))
    assert all(torch.equal(value, state[name]) for name, value in reference.model.state_dict().items())


def test_the_budget_scales_what_is_allowed() -> None:
    one, two = (make_reference(error_budget=budget) for budget in (1.0, 2.0))
    tight, wide = (r.expectation(r.state, r.inputs(6)).main for r in (one, two))
    assert wide.allowed - tight.allowed == pytest.approx(tight.reference_error)
