"""The criterion, the cases A to D, the guards, and where right results are kept."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn as nn
from helpers.tricks import problem_path, workload

from tuner import problem
from tuner.verification import suite as verify
from tuner.verification.suite import Suite, Wrong, error_of, guarded_like, guards_intact, same_bits

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def suite():
    torch.set_num_threads(1)
    return Suite(problem.load(problem_path("gn_mean")), workload("gn_mean"), "cpu", 11)


def changed(suite, forward):
    """A copy of the reference with another forward, given the reference's own."""
    model = copy.deepcopy(suite.reference)
    original = type(model).forward
    model.__class__ = type("Changed", (type(model),), {"forward": lambda self, x: forward(lambda: original(self, x))})
    return model


def failures(suite, forward):
    found = suite.check(changed(suite, forward))
    return {case.name: case.detail for case in found.cases if not case.ok and case.name != "own work"}


# ---- the criterion ----


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("y", "oracle", "error"),
    [
        ((1.0, 2.5), (1.0, 2.0), 0.5),
        ((1.0, NAN), (1.0, NAN), 0.0),
        ((1.0, INF), (1.5, INF), 0.5),
        ((NAN, NAN), (NAN, NAN), 0.0),
        ((1.0, NAN), (1.0, 2.0), INF),
        ((1.0, 2.0), (1.0, NAN), INF),
        ((1.0, INF), (1.0, 2.0), INF),
        ((1.0, 2.0), (1.0, INF), INF),
        ((1.0, INF), (1.0, -INF), INF),
        ((1.0, NAN), (1.0, INF), INF),
    ],
)
def test_the_error_is_infinite_when_the_masks_differ(y, oracle, error):
    assert error_of(tensor(*y), tensor(*oracle)) == error


def test_eight_times_the_reference_s_error_and_four_roundings_are_allowed(suite):
    for case in suite.cases:
        scale = case.oracle.abs().max().item()
        assert case.allowed == pytest.approx(8 * case.reference_error + 4 * 2**-23 * scale)


@pytest.mark.parametrize(("share", "ok"), [(0.5, True), (1.5, False)])
def test_a_result_is_judged_by_what_is_allowed(suite, share, ok):
    case = suite.cases[0]
    y = case.oracle.clone()
    y[0] += share * case.allowed
    assert verify.judged(case, error_of(y, case.oracle)).ok is ok


def test_the_record_holds_the_error_as_a_multiple_of_the_reference_s(suite):
    assert 0.3 < suite.check(changed(suite, lambda own: own())).error_ratio <= 1.0


def test_agreement_with_eager_is_told_beside_it(suite):
    assert suite.check(changed(suite, lambda own: own())).agrees_with_eager
    assert not suite.check(changed(suite, lambda own: own() + 1)).agrees_with_eager


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda own: own().double(), "dtype torch.float64, expected torch.float32"),
        (lambda own: own()[:, None], r"shape (4, 1), expected (4,)"),
        (lambda own: own().to("meta"), "on meta, expected cpu"),
        (lambda own: own() * NAN, "4 elements are NaN"),
        (lambda own: own() + 1, "against the oracle, allowed"),
    ],
)
def test_type_shape_device_and_value_must_fit(suite, forward, said):
    assert said in failures(suite, forward)["A random affine"]


def test_precision_classes():
    torch.set_num_threads(1)
    loaded = problem.load(problem_path("gn_min_bias"))
    errors = {}
    for precision in ("match", "ieee", "tf32"):
        wanted = workload("gn_min_bias").with_precision(precision)
        errors[precision] = Suite(loaded, wanted, "cpu", 5).cases[0].reference_error
    assert errors["match"] == errors["ieee"] < 1e-5  # a CPU knows no TF32
    assert errors["tf32"] > 10 * errors["ieee"]


@pytest.mark.parametrize(("x", "rounded"), [(1.0, 1.0), (1 + 2**-11, 1 + 2**-10), (1 + 2**-12, 1.0), (INF, INF)])
def test_tf32_rounds_to_ten_bits_ties_away(x, rounded):
    assert verify.round_to_tf32(torch.tensor(x)).item() == rounded


# ---- the cases ----


def case(suite, letter):
    return next(c for c in suite.cases if c.name[0] == letter)


def before_norm(suite, case):
    """What reaches the normalisation."""
    model, seen = copy.deepcopy(suite.reference), []
    verify.load_state(model, case.state)
    model.group_norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(*case.inputs)
    return seen[0].double()


def test_a_no_parameter_keeps_its_default(suite):
    state = case(suite, "A").state
    assert not bool((state["group_norm.weight"] == 1).any())
    assert not bool((state["group_norm.bias"] == 0).any())


def test_b_samples_differ_in_scale(suite):
    deviations = case(suite, "B").inputs[0].flatten(1).std(1)
    assert deviations.max() > 4 * deviations.min()


def test_b_and_c_put_the_extremes_at_the_ends(suite):
    for letter, sign in (("B", 1), ("C", -1)):
        bias = sign * case(suite, letter).state["group_norm.bias"]
        assert (bias.argmax().item(), bias.argmin().item()) == (0, len(bias) - 1)


def test_c_the_mean_is_large_beside_the_deviation(suite):
    x = before_norm(suite, case(suite, "C")).flatten(2)
    assert bool((x.mean(2).abs() > 500 * x.std(2)).all())


def test_d_the_variance_is_near_eps(suite):
    variance = before_norm(suite, case(suite, "D")).var().item()
    assert 0.1 < variance / suite.reference.group_norm.eps < 10


def test_the_values_follow_the_seed():
    torch.set_num_threads(1)
    loaded = problem.load(problem_path("gn_mean"))
    one, two = (Suite(loaded, workload("gn_mean"), "cpu", seed).cases[0].inputs[0] for seed in (1, 2))
    assert not torch.equal(one, two)


# ---- guards ----


def test_unwritten_memory_is_nan(suite):
    assert "not written" in failures(suite, lambda own: torch.empty(own().shape))["A random affine"]


def test_guards_keep_strides_and_alignment():
    x = torch.rand(65)[1:].view(4, 16).t()
    made = guarded_like(x)
    assert (made.shape, made.stride()) == (x.shape, x.stride())
    assert made.data_ptr() % 16 == 4
    assert bool(made.isnan().all())


@pytest.mark.parametrize("where", [-1, 12])
def test_a_write_beside_a_tensor_is_seen(where):
    x = guarded_like(torch.rand(3, 4))
    assert guards_intact(x.zero_())
    x.as_strided((1,), (1,), x.storage_offset() + where).zero_()
    assert not guards_intact(x)


def test_bits_are_compared_not_values():
    assert same_bits(tensor(NAN, 1.0), tensor(NAN, 1.0))
    assert not same_bits(tensor(0.0), tensor(-0.0))


def test_other_parameters_than_the_reference_s_are_refused(suite):
    class More(type(suite.reference)):
        def __init__(self, *init):
            super().__init__(*init)
            self.more = nn.Parameter(torch.ones(1))

    class Initialised(type(suite.reference)):
        def __init__(self, *init):
            super().__init__(*init)
            self.conv.bias.data.zero_()

    with pytest.raises(Wrong, match=r"parameters are .*'more'"):
        suite.build(More)
    with pytest.raises(Wrong, match=r"conv\.bias is initialised with other values"):
        suite.build(Initialised)


# ---- where right results are ----


def held_right(y, suite):
    return any(same_bits(y, c.oracle.float()) or same_bits(y, c.eager) for c in suite.cases if c.eager.shape == y.shape)


def test_no_allocation_of_a_candidate_holds_a_right_result(suite):
    held = []

    def forward(own):
        blocks = [torch.empty(4) for _ in range(64)]
        held.extend(held_right(block, suite) for block in blocks)
        return own()

    failures(suite, forward)
    assert held and not any(held)


def test_a_result_is_overwritten_once_it_is_read(suite):
    kept = []

    def forward(own):
        y = own()
        kept.append(y)
        return y

    read = suite.call(changed(suite, forward), suite.cases[0].inputs)
    assert bool(kept[0].isnan().all())
    assert not bool(read.isnan().any())


def test_the_oracle_stays_allocated(suite):
    pointers = {c.oracle.data_ptr() for c in suite.cases}
    assert not pointers & {torch.empty(4, dtype=torch.float64).data_ptr() for _ in range(64)}


# ---- whose work it is ----


def test_products_views_and_small_tensors_are_no_fall_back():
    a, b, c = torch.rand(8, 4), torch.rand(4, 8), torch.rand(8)
    with verify.Operators() as operators:
        y = torch.mm(a, b).t().contiguous()
        y.add_(c)
        y[0].sigmoid()
    assert (operators.large(), operators.beyond(64)) == (64, [])


def test_work_on_whole_results_is_a_fall_back():
    a, b = torch.rand(8, 4), torch.rand(4, 8)
    with verify.Operators() as operators:
        y = torch.mm(a, b)
        y.relu()
        y.sum(1)
    assert operators.beyond(operators.large()) == ["relu", "sum"]
