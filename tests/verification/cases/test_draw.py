"""Fresh values: they follow their seed, and little of the reference's luck gets into what is allowed."""

from __future__ import annotations

import pytest
import torch
from helpers.suites import make_suite
from tricks import workload

from tuner.verification.cases import Draw
from tuner.verification.cases.draw import conditioned
from tuner.verification.cases.values import random_affine
from tuner.verification.suite import Suite


@pytest.fixture(scope="module")
def suite() -> Suite:
    return make_suite("gn_mean")


def test_values_follow_their_seed(suite: Suite) -> None:
    one, again, other = (Draw(suite.reference, seed) for seed in (1, 1, 2))
    assert torch.equal(one.plain[0], again.plain[0]) and not torch.equal(one.plain[0], other.plain[0])
    assert torch.equal(one.moved()[0], again.moved()[0])


def test_samples_are_limited(suite: Suite) -> None:
    assert Draw(suite.reference, 1, 2).plain[0].shape == (2, 3, 6, 8, 10)


def test_moved_inputs_are_the_same_values_elsewhere(suite: Suite) -> None:
    draw = Draw(suite.reference, 1)
    (plain,), (moved,) = draw.plain, draw.moved()
    assert not torch.equal(plain, moved)
    assert torch.equal(plain.flatten().sort().values, moved.flatten().sort().values)


def test_on_few_results_the_reference_s_error_is_the_largest_of_several_draws(suite: Suite) -> None:
    one = workload("gn_mean").with_batch(1)
    first = Draw(suite.reference, 3).case("X", [torch.rand(one.shapes[0])]).expected.main
    several = Draw(suite.reference, 3).sized("X", one, random_affine).expected.main
    assert first.oracle.numel() == 1
    assert several.reference_error > 0 and several.allowed >= 8 * several.reference_error


def test_a_rounding_of_the_mean_is_allowed_where_the_variance_is_nearly_zero(suite: Suite) -> None:
    case = Draw(suite.reference, 3).case("X", [torch.full((4, 3, 6, 8, 10), 0.5)])
    assert conditioned(case).expected.main.allowed >= case.expected.main.allowed
    assert conditioned(case).expected.main.oracle is case.expected.main.oracle


def test_where_the_tuned_workload_runs_in_tf32_its_cost_is_allowed_at_other_sizes(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allowed(shape: tuple[int, ...], seed: int = 3) -> float:
        draw = Draw(suite.reference, seed)
        return draw.case("X", [torch.rand(shape, generator=torch.Generator().manual_seed(5))]).expected.main.allowed

    tuned, other = suite.reference.workload.shapes[0], (2, 3, 6, 8, 10)
    exact = allowed(tuned), allowed(other)
    monkeypatch.setattr(suite.reference, "convolves_in_tf32", True)
    assert allowed(tuned) == exact[0] and allowed(other) > 10 * exact[1]


def test_no_workload_runs_in_tf32_on_a_cpu(suite: Suite) -> None:
    assert not suite.reference.convolves_in_tf32
