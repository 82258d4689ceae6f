"""The reference: its own error by precision class, and what is expected by it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from helpers.problems import make_reference
from tricks import problem_path, workload

from tuner import problem
from tuner.records import Precision
from tuner.verification.answers import Answer
from tuner.verification.parameters import State, Tensors
from tuner.verification.reference import Reference


def shipped_reference(precision: Precision = "match", error_budget: float = 8.0) -> Reference:
    torch.set_num_threads(1)
    wanted = workload("gn_min_bias").with_precision(precision)
    return Reference(problem.load(problem_path("gn_min_bias")), wanted, "cpu", 5, error_budget)


def error(precision: Precision) -> float:
    reference = shipped_reference(precision)
    return reference.expectation(reference.state, reference.inputs(6)).main.reference_error


def test_a_cpu_knows_no_tf32() -> None:
    assert error("match") == error("ieee") < 1e-5


def test_what_tf32_costs_is_allowed_in_its_class() -> None:
    assert error("tf32") > 10 * error("ieee")


def test_the_oracle_is_in_float64() -> None:
    reference = shipped_reference()
    inputs = reference.inputs(6)
    (oracle,) = reference.oracle(reference.state, inputs).tensors
    assert oracle.dtype == torch.float64
    assert torch.allclose(oracle.float(), reference.eager(reference.state, inputs).tensors[0], atol=1e-4)


def test_in_float64_the_reference_errs_as_roundings_of_the_values_change_its_result(tmp_path: Path) -> None:
    """A sum in another order is right, one in float32 is not, though the oracle is no finer than the first."""
    reference = make_reference(
        tmp_path, "return (x * self.layer.weight[0]).sum(1)", layer="nn.Linear(4096, 1).double()",
        inputs="torch.randn(8, 4096, dtype=torch.float64)",
    )  # fmt: skip
    (x,) = reference.inputs(6)
    expected = reference.expectation(reference.state, [x]).main
    terms = x * reference.state["layer.weight"][0]
    reordered, short = terms.cumsum(1)[:, -1], terms.float().sum(1)
    assert 0 < expected.reference_error < 1e-12
    assert (reordered - expected.oracle).abs().max() <= expected.allowed < (short - expected.oracle).abs().max()


@pytest.mark.parametrize("precision", ["match", "tf32"])
def test_an_expectation_leaves_the_parameters_as_its_state_says(precision: Precision) -> None:
    reference = shipped_reference(precision)
    state = {name: value + 1 for name, value in reference.state.items()}
    reference.expectation(state, reference.inputs(6))
    assert all(torch.equal(value, state[name]) for name, value in reference.model.state_dict().items())


def test_the_budget_scales_what_is_allowed() -> None:
    one, two = (shipped_reference(error_budget=budget) for budget in (1.0, 2.0))
    tight, wide = (r.expectation(r.state, r.inputs(6)).main for r in (one, two))
    assert wide.allowed - tight.allowed == pytest.approx(tight.reference_error)


def test_a_reference_whose_sums_differ_by_a_rounding_is_not_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = make_reference(tmp_path, "return x + 1")
    eager, calls = reference.eager, itertools.count()

    def unsteady(state: State, inputs: Tensors) -> Answer:
        answer = eager(state, inputs)
        return Answer(answer.structure, [y + next(calls) * 2**-23 for y in answer.tensors])

    monkeypatch.setattr(reference, "eager", unsteady)
    reference.require_deterministic()


def test_every_result_and_every_changed_buffer_is_expected(tmp_path: Path) -> None:
    reference = make_reference(tmp_path, "return self.layer(x), x.argmax(1)", layer="nn.BatchNorm1d(8)")
    expected = reference.expectation(reference.state, reference.inputs(1))
    assert expected.structure == "(tensor, tensor)"
    names = {part.name for part in expected.parts}
    buffers = {f"buffer layer.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert names == {"result 0", "result 1"} | buffers
    assert len(expected.results) == 2


def test_integers_that_a_rounding_decides_are_ties(tmp_path: Path) -> None:
    reference = make_reference(tmp_path, "return x.argmax(1)")
    x = torch.tensor([[1.0, 2.0], [2.0, 2.0], [2.0, 2.0 + 2**-22], [3.0, 1.0]])
    ties = reference.expectation(reference.state, [x]).main.ties
    assert ties is not None and ties[0].item() is False and ties[3].item() is False
    assert bool(ties[1:3].any())


def test_tensors_that_are_no_parameters_are_in_float64_too(tmp_path: Path) -> None:
    reference = make_reference(tmp_path, "return x @ self.layer", layer="torch.ones(8, 4)")
    assert reference.oracle(reference.state, reference.inputs(1)).tensors[0].dtype == torch.float64
