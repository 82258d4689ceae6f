"""numerics/monoids.hpp: every monoid against torch, however a row is cut, with NaN and Inf among the values."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch
from helpers.shipped import SEED

from tuner import template
from tuner.backends import toolchain

FIELDS = (
    *("sum", "product", "max", "min", "any", "all", "mean", "variance", "max_of", "exponentials"),
    *("argmax_value", "argmax", "argmin_value", "argmin"),
)
INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    if not toolchain.compiler():
        pytest.skip("no C++ compiler")
    source = Path(__file__).with_name("monoids.cpp").read_text()
    return toolchain.build(source, ("-O1", "-I", str(template.shipped_folder() / "include")))


def reduced(library: ctypes.CDLL, x: torch.Tensor, cut: int) -> dict[str, float]:
    out = torch.full((len(FIELDS),), 77.0, dtype=torch.float64)
    library.run(*map(ctypes.c_void_p, (x.data_ptr(), len(x), cut, out.data_ptr())))
    return dict(zip(FIELDS, out.tolist(), strict=True))


def wanted(x: torch.Tensor) -> dict[str, float]:
    w = x.double()
    least, most = x.min(0), x.max(0)
    numbers = (
        *(w.sum(), w.prod(), x.max(), x.min(), x.bool().any(), x.bool().all(), w.mean(), w.var(correction=0)),
        *(x.max(), (w - w.max()).exp().sum(), most.values, x.argmax(), least.values, x.argmin()),
    )
    return dict(zip(FIELDS, map(float, numbers), strict=True))


def close(found: dict[str, float], right: dict[str, float]) -> None:
    torch.testing.assert_close(
        torch.tensor([found[name] for name in FIELDS], dtype=torch.float64),
        torch.tensor([right[name] for name in FIELDS], dtype=torch.float64),
        rtol=1e-6, atol=1e-6, equal_nan=True,
    )  # fmt: skip


def drawn(n: int) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(SEED))


@pytest.mark.parametrize("cut", [0, 1, 4, 50, 101])
def test_each_monoid_of_a_row_in_two_parts(library: ctypes.CDLL, cut: int) -> None:
    x = drawn(101)
    close(reduced(library, x, cut), wanted(x))


@pytest.mark.parametrize("special", [NAN, INF, -INF, 0.0])
@pytest.mark.parametrize("at", [0, 5, 12])
def test_special_values_go_through_as_in_torch(library: ctypes.CDLL, special: float, at: int) -> None:
    x = drawn(13)
    x[at] = special
    for cut in (0, 6, 13):
        close(reduced(library, x, cut), wanted(x))


def test_all_masked_is_no_sum_of_exponentials_yet(library: ctypes.CDLL) -> None:
    found = reduced(library, torch.full((9,), -INF), 4)
    assert (found["max_of"], found["exponentials"], found["argmax"]) == (-INF, 0.0, 0.0)
    assert reduced(library, torch.tensor([-INF] * 5 + [2.0, 2.0]), 3)["exponentials"] == 2.0


def test_equal_values_and_several_nans_give_the_first_position(library: ctypes.CDLL) -> None:
    x = torch.tensor([1.0, 3.0, 3.0, 1.0, 3.0, 0.0, 0.0, 0.0, 3.0])
    for cut in (0, 2, 5, 7):
        found = reduced(library, x, cut)
        assert (found["argmax"], found["argmin"]) == (1.0, 5.0)
    x[2] = x[6] = NAN
    for cut in (0, 2, 5, 7):
        found = reduced(library, x, cut)
        assert (found["argmax"], found["argmin"]) == (2.0, 2.0)


def test_moments_do_not_cancel(library: ctypes.CDLL) -> None:
    x = 1000 + 1e-2 * drawn(5000)
    found, right = reduced(library, x, 1234), wanted(x)
    assert found["variance"] == pytest.approx(right["variance"], rel=1e-6)
    assert found["mean"] == pytest.approx(right["mean"], rel=1e-12)
    assert reduced(library, torch.full((77,), 1e3), 33)["variance"] == 0.0


def test_an_outlier_costs_moments_nothing(library: ctypes.CDLL) -> None:
    x = drawn(5000)
    x[0] = 1e6
    assert reduced(library, x, 1234)["variance"] == pytest.approx(wanted(x)["variance"], rel=1e-6)


def test_a_product_may_leave_the_range_of_a_float_on_its_way(library: ctypes.CDLL) -> None:
    assert reduced(library, torch.tensor([1e30, 1e30, 1e-30, 1e-30, 2.0]), 2)["product"] == pytest.approx(2, rel=1e-5)


def test_several_sums_at_once(library: ctypes.CDLL) -> None:
    x, out = drawn(50), torch.zeros(2, dtype=torch.float64)
    library.sums(*map(ctypes.c_void_p, (x.data_ptr(), 50, out.data_ptr())))
    torch.testing.assert_close(out, torch.stack([x.double().sum(), x.double().square().sum()]), rtol=1e-6, atol=1e-6)
