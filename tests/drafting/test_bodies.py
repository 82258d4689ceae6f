"""The text of a functor's functions."""

from __future__ import annotations

import math

import pytest

from tuner.drafting.bodies import literal

LARGEST = 3.4028234663852886e38


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2.0, "2.0f"),
        (-0.0, "-0.0f"),
        (1e-05, "1e-05f"),
        (LARGEST, f"{LARGEST!r}f"),
        (1e300, "INFINITY"),
        (-1e300, "-INFINITY"),
        (-math.inf, "-INFINITY"),
        (math.nan, "NAN"),
    ],
)
def test_a_number_is_the_float_that_pytorch_takes_it_for(number: float, text: str) -> None:
    assert literal(number) == text


@pytest.mark.parametrize(("number", "text"), [(0.1, "0.1"), (1e300, "1e+300"), (-math.inf, "-INFINITY")])
def test_a_number_of_a_draft_in_float64_is_a_double(number: float, text: str) -> None:
    assert literal(number, "double") == text
