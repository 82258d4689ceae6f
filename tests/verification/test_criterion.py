"""The criterion: errors, what is allowed, what a result has to look like, TF32."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from tuner.verification import criterion
from tuner.verification.criterion import Expectation, Wrong, error_of, judge

NAN, INF = math.nan, math.inf


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


EXPECTED = Expectation(
    oracle=tensor(1.0, 2.0, 3.0, -4.0), eager=torch.zeros(4), reference_error=0.25, allowed=2.0, large=None
)
RIGHT = EXPECTED.oracle.float()


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
def test_the_error_is_infinite_when_the_masks_differ(
    y: tuple[float, ...], oracle: tuple[float, ...], error: float
) -> None:
    assert error_of(tensor(*y), tensor(*oracle)) == error


def test_eight_times_the_reference_s_error_and_four_roundings_are_allowed() -> None:
    allowed = criterion.allowed_error(0.25, tensor(1.0, -3.0, INF, NAN), torch.float32, error_budget=8)
    assert allowed == 8 * 0.25 + 4 * 2**-23 * 3


@pytest.mark.parametrize(("off", "ok"), [(0.0, True), (1.75, True), (2.25, False)])
def test_a_result_is_judged_by_what_is_allowed(off: float, ok: bool) -> None:
    verdict = judge("X", EXPECTED, RIGHT + torch.tensor([0.0, off, 0.0, 0.0]))
    assert (verdict.name, verdict.ok) == ("X", ok)
    assert (verdict.error, verdict.allowed, verdict.reference_error) == (off, 2.0, 0.25)
    assert verdict.detail == ("" if ok else "error 2.25 against the oracle, allowed 2")


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (RIGHT.double(), "dtype torch.float64, expected torch.float32"),
        (RIGHT[:, None], "shape (4, 1), expected (4,)"),
        (RIGHT.to("meta"), "on meta, expected cpu"),
        (nn.Parameter(RIGHT), "returned a Parameter, not a plain tensor"),
        (None, "returned a NoneType, not a plain tensor"),
        (RIGHT * NAN, "4 elements are NaN: not written, or read before written"),
    ],
)
def test_type_shape_dtype_device_and_value_must_fit(y: object, said: str) -> None:
    verdict = judge("X", EXPECTED, y)
    assert not verdict.ok and said in verdict.detail


def test_an_infinite_error_has_no_number() -> None:
    assert judge("X", EXPECTED, RIGHT * NAN).error is None


@pytest.mark.parametrize(
    ("own", "error", "ratio"), [(0.25, 0.5, 2.0), (0.25, 0.0, 0.0), (0.0, 1.0, 0.5), (0.0, INF, 1e300)]
)
def test_the_ratio_is_to_the_reference_s_error_or_to_what_is_allowed(own: float, error: float, ratio: float) -> None:
    expected = dataclasses.replace(EXPECTED, reference_error=own)
    assert criterion.error_ratio(expected, error) == ratio


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        ({"b": tensor(1.0)}, "parameters are ['b'], the reference's are ['a']"),
        ({"a": tensor(1.0), "b": tensor(1.0)}, "parameters are ['a', 'b']"),
        ({"a": tensor(1.0, 2.0)}, "parameter a is (2,), the reference's (1,)"),
        ({"a": tensor(2.0)}, "parameter a is initialised with other values than the reference's"),
    ],
)
def test_other_parameters_than_the_reference_s_are_refused(mine: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(Wrong) as caught:
        criterion.require_parameters(mine, {"a": tensor(1.0)})
    assert said in str(caught.value)


@pytest.mark.parametrize(("x", "rounded"), [(1.0, 1.0), (1 + 2**-11, 1 + 2**-10), (1 + 2**-12, 1.0), (INF, INF)])
def test_tf32_rounds_to_ten_bits_ties_away(x: float, rounded: float) -> None:
    assert criterion.round_to_tf32(torch.tensor(x)).item() == rounded


def test_operands_are_rounded_inside_only() -> None:
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data.fill_(1.0)
    x = torch.tensor([1 + 2**-12])
    with criterion.rounded_operands(linear):
        assert linear(x).item() == 1.0
    assert linear(x).item() == x.item()


def test_the_switches_are_put_back() -> None:
    before = torch.backends.cudnn.allow_tf32
    with criterion.tf32_flags(True, not before):
        assert torch.backends.cudnn.allow_tf32 is not before
    assert torch.backends.cudnn.allow_tf32 is before
