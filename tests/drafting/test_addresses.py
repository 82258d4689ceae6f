"""Addresses: products of numbers and sizes, in 64 bits where they may not fit 32."""

from __future__ import annotations

from tuner.drafting.addresses import Run, address, strided
from tuner.drafting.axes import Axis

SAMPLES, CHANNELS, POSITIONS = Axis("samples", 2), Axis("channels", 3), Axis("positions", 5)
RUNS = [Run("rows", (SAMPLES,)), Run("elements", (CHANNELS,)), Run("rows", (POSITIONS,))]


def size(axes: tuple[Axis, ...]) -> str:
    return axes[0].name


def test_the_outermost_number_is_multiplied_by_all_that_lies_inside() -> None:
    assert address(RUNS, ["r", "i", "p"], size) == "(r * channels + i) * positions + p"


def test_a_wide_address_is_widened_ahead_of_its_products() -> None:
    found = address(RUNS, ["r", "i", "p"], size, wide=True)
    assert found == "(static_cast<long long>(r) * channels + i) * positions + p"


def test_the_part_of_some_runs_keeps_their_strides() -> None:
    assert strided(RUNS, ["r", None, "p"], size) == "r * channels * positions + p"


def test_every_product_of_a_wide_part_is_widened() -> None:
    found = strided(RUNS, ["r", "i", "p"], size, wide=True)
    assert found == ("static_cast<long long>(r) * channels * positions + static_cast<long long>(i) * positions + p")
