"""The criterion: errors, what is allowed, what a result has to look like, TF32."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tuner.records import CaseResult
from tuner.verification import criterion
from tuner.verification.answers import Answer
from tuner.verification.criterion import Expectation, ExpectedTensor, Wrong, error_of, judge, largest_finite

NAN, INF = math.nan, math.inf


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


ORACLE = tensor(1.0, 2.0, 3.0, -4.0)
RIGHT = ORACLE.float()
EXPECTED = Expectation("tensor", (ExpectedTensor("", ORACLE, torch.zeros(4), 0.25, 2.0),), None)


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
    allowed = criterion.allowed_error(0.25, criterion.largest_finite(tensor(1.0, -3.0, INF, NAN)), torch.float32, 8)
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
    ("own", "error", "ratio"), [(0.25, 0.5, 2.0), (0.25, 0.0, 0.0), (0.0, 1.0, 0.5), (1e-300, 1e300, 1e300)]
)
def test_the_ratio_is_to_the_reference_s_error_or_to_what_is_allowed(own: float, error: float, ratio: float) -> None:
    verdict = CaseResult(name="X", ok=True, error=error, allowed=2.0, reference_error=own)
    assert criterion.error_ratio(verdict) == ratio


def test_a_verdict_without_an_error_has_no_ratio() -> None:
    assert criterion.error_ratio(CaseResult(name="X", ok=False)) == 0.0


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


# ---- several results, integers, buffers ------------------------------------------------------------


def expected_of(*parts: ExpectedTensor) -> Expectation:
    results = [part for part in parts if not part.is_buffer]
    structure = "tensor" if len(results) == 1 else f"({', '.join('tensor' for _ in results)})"
    return Expectation(structure, parts, None)


TWO = expected_of(
    ExpectedTensor("result 0", ORACLE, torch.zeros(4), 0.25, 2.0),
    ExpectedTensor("result 1", tensor(1.0), torch.zeros(1), 0.25, 0.5),
)


@pytest.mark.parametrize("kind", [tuple, list])
def test_each_of_several_results_is_judged(kind: type[tuple[object, ...]] | type[list[object]]) -> None:
    assert judge("X", TWO, kind([RIGHT, torch.ones(1)])).ok
    verdict = judge("X", TWO, kind([RIGHT, torch.ones(1) + 1]))
    assert not verdict.ok and verdict.detail.startswith("result 1: error 1 against the oracle")


def test_the_result_that_is_worst_off_is_in_the_verdict() -> None:
    assert judge("X", TWO, (RIGHT + 1, torch.ones(1) + 0.375)).error == 0.375


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (RIGHT, "returned tensor, expected (tensor, tensor)"),
        ((RIGHT, (RIGHT,)), "returned (tensor, (tensor)), expected (tensor, tensor)"),
        ((RIGHT, 3), "returned an int, not a plain tensor"),
        ({"y": RIGHT}, "returned a dict, not a plain tensor"),
        ((), "returned an empty tuple, not a plain tensor"),
    ],
)
def test_another_structure_is_wrong(result: object, said: str) -> None:
    verdict = judge("X", TWO, result)
    assert (verdict.ok, verdict.detail) == (False, said)


def integers(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_integers_are_compared_exactly_but_where_a_rounding_decides() -> None:
    ties = torch.tensor([False, True])
    expected = expected_of(ExpectedTensor("", integers(3, 4), integers(3, 4), 0.0, 0.0, ties))
    assert judge("X", expected, integers(3, 4)).ok and judge("X", expected, integers(3, 9)).ok
    verdict = judge("X", expected, integers(2, 4))
    assert (verdict.ok, verdict.detail) == (False, "1 elements differ")


def test_a_buffer_is_judged_where_the_answer_has_it() -> None:
    buffer = ExpectedTensor("buffer mean", tensor(1.0), torch.ones(1), 0.0, 0.1)
    expected = expected_of(ExpectedTensor("", ORACLE, torch.zeros(4), 0.25, 2.0), buffer)
    assert judge("X", expected, RIGHT).ok
    assert judge("X", expected, Answer("tensor", [RIGHT], {"mean": torch.ones(1)})).ok
    verdict = judge("X", expected, Answer("tensor", [RIGHT], {"mean": torch.zeros(1)}))
    assert not verdict.ok and verdict.detail.startswith("buffer mean: error 1")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_comparing_changes_nothing(dtype: torch.dtype) -> None:
    x = torch.tensor([-1.0, 2.0], dtype=dtype)
    largest_finite(x)
    error_of(x, x.double())
    assert x.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(("values", "largest"), [([1.0, -2.0], 2.0), ([NAN, -3.0, INF], 3.0), ([INF], 0.0), ([], 0.0)])
def test_the_largest_finite_magnitude(values: list[float], largest: float) -> None:
    assert largest_finite(torch.tensor(values)) == largest
