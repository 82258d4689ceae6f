"""The cases A to D, candidates built and run in this process, and where right results are kept."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn as nn
from tricks import problem_path, workload

from tuner import problem
from tuner.verification.answers import Answer
from tuner.verification.cases import Case
from tuner.verification.criterion import Wrong, judge
from tuner.verification.guarded_model import GuardedModel
from tuner.verification.guards import same_bits
from tuner.verification.parameters import load_state
from tuner.verification.suite import Suite

Forward = Callable[[Callable[[], torch.Tensor]], torch.Tensor]  # given the reference's own


def make_suite(name: str, seed: int = 11) -> Suite:
    torch.set_num_threads(1)
    return Suite(problem.load(problem_path(name)), workload(name), "cpu", seed)


@pytest.fixture(scope="module")
def suite() -> Suite:
    return make_suite("gn_mean")


@pytest.fixture(scope="module")
def many() -> Suite:
    """A suite whose results are so many that none of its cases is drawn several times."""
    torch.set_num_threads(1)
    return Suite(problem.load(problem_path("gn_mean")), workload("gn_mean").with_batch(8), "cpu", 11)


def changed(suite: Suite, forward: Forward) -> GuardedModel:
    """A copy of the reference with another forward."""
    model = copy.deepcopy(suite.reference.model)
    original = type(model).forward
    model.__class__ = type("Changed", (type(model),), {"forward": lambda self, x: forward(lambda: original(self, x))})
    return GuardedModel(model, suite.reference.backend)


def failures(suite: Suite, forward: Forward) -> dict[str, str]:
    found = suite.run(changed(suite, forward))
    return {result.name: result.detail for result in found.results if not result.ok}


# ---- judging ----


def test_eight_times_the_reference_s_error_and_four_roundings_are_allowed(many: Suite) -> None:
    for case in many.cases:
        expected = case.expected.main
        scale = expected.oracle.abs().max().item()
        assert expected.allowed == pytest.approx(8 * expected.reference_error + 4 * 2**-23 * scale)


def test_a_result_is_judged_without_a_candidate(suite: Suite) -> None:
    for case in suite.cases:
        assert judge(case.name, case.expected, suite.reference.eager(case.state, case.inputs)).ok
        assert not judge(case.name, case.expected, torch.zeros_like(case.expected.main.eager)).ok


def test_the_record_holds_the_error_as_a_multiple_of_the_reference_s(suite: Suite) -> None:
    assert 0.3 < suite.run(changed(suite, lambda own: own())).error_ratio <= 1.0


def test_agreement_with_eager_is_told_beside_it(suite: Suite) -> None:
    assert suite.run(changed(suite, lambda own: own())).agrees_with_eager
    assert not suite.run(changed(suite, lambda own: own() + 1)).agrees_with_eager


def test_a_result_far_from_eager_s_does_not_agree(suite: Suite) -> None:
    (plain,) = suite.plain_eager.tensors
    assert suite.agrees(Answer.of(plain + 1e-5))
    assert not suite.agrees(Answer.of(plain + 1e-3)) and not suite.agrees(Answer.of((plain, plain)))


def test_a_wrong_value_fails_its_case(suite: Suite) -> None:
    assert "against the oracle, allowed" in failures(suite, lambda own: own() + 1)["A random affine"]


def test_a_fall_back_is_a_case_of_its_own(suite: Suite) -> None:
    found = suite.run(changed(suite, lambda own: own())).correctness()
    assert [case.name for case in found.cases if not case.ok] == ["own work"]


def test_other_parameters_than_the_reference_s_are_refused(suite: Suite) -> None:
    reference = type(suite.reference.model)

    class More(reference):  # type: ignore[misc, valid-type]
        def __init__(self, *init: object) -> None:
            super().__init__(*init)
            self.more = nn.Parameter(torch.ones(1))

    class Initialised(reference):  # type: ignore[misc, valid-type]
        def __init__(self, *init: object) -> None:
            super().__init__(*init)
            self.conv.bias.data.zero_()

    with pytest.raises(Wrong, match=r"parameters are .*'more'"):
        suite.build(More)
    with pytest.raises(Wrong, match=r"conv\.bias is initialised with other values"):
        suite.build(Initialised)


# ---- the cases ----


def case(suite: Suite, letter: str) -> Case:
    return next(c for c in suite.cases if c.name[0] == letter)


def before_norm(suite: Suite, case: Case) -> torch.Tensor:
    """What reaches the normalisation."""
    model, seen = copy.deepcopy(suite.reference.model), list[torch.Tensor]()
    load_state(model, case.state)
    model.get_submodule("group_norm").register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(*case.inputs)
    return seen[0].double()


def test_a_no_parameter_keeps_its_default(suite: Suite) -> None:
    state = case(suite, "A").state
    assert not bool((state["group_norm.weight"] == 1).any())
    assert not bool((state["group_norm.bias"] == 0).any())


def test_b_samples_differ_in_scale(suite: Suite) -> None:
    deviations = case(suite, "B").inputs[0].flatten(1).std(1)
    assert deviations.max() > 4 * deviations.min()


def test_b_and_c_put_the_extremes_at_the_ends(suite: Suite) -> None:
    for letter, sign in (("B", 1), ("C", -1)):
        bias = sign * case(suite, letter).state["group_norm.bias"]
        assert (bias.argmax().item(), bias.argmin().item()) == (0, len(bias) - 1)


def test_c_the_mean_is_large_beside_the_deviation(suite: Suite) -> None:
    x = before_norm(suite, case(suite, "C")).flatten(2)
    assert bool((x.mean(2).abs() > 500 * x.std(2)).all())


def test_d_the_variance_is_near_eps(suite: Suite) -> None:
    variance = before_norm(suite, case(suite, "D")).var().item()
    norm = suite.reference.model.get_submodule("group_norm")
    assert isinstance(norm, nn.GroupNorm) and 0.1 < variance / norm.eps < 10


def test_the_values_follow_the_seed() -> None:
    one, two, again = (make_suite("gn_mean", seed).cases[0].inputs[0] for seed in (1, 2, 1))
    assert torch.equal(one, again) and not torch.equal(one, two)


# ---- where right results are ----


def held_right(y: torch.Tensor, suite: Suite) -> bool:
    expectations = [c.expected.main for c in suite.cases if c.expected.main.eager.shape == y.shape]
    return any(same_bits(y, e.oracle.float()) or same_bits(y, e.eager) for e in expectations)


def test_no_allocation_of_a_candidate_holds_a_right_result(suite: Suite) -> None:
    held: list[bool] = []

    def forward(own: Callable[[], torch.Tensor]) -> torch.Tensor:
        blocks = [torch.empty(4) for _ in range(64)]
        held.extend(held_right(block, suite) for block in blocks)
        return own()

    failures(suite, forward)
    assert held and not any(held)


def test_the_oracle_stays_allocated(suite: Suite) -> None:
    pointers = {c.expected.main.oracle.data_ptr() for c in suite.cases}
    assert not pointers & {torch.empty(4, dtype=torch.float64).data_ptr() for _ in range(64)}
