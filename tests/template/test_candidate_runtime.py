"""The part that every candidate carries: which kernel it takes, what it hands to it, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tuner import template
from tuner.space import Point
from tuner.template import render

Runtime = Callable[..., dict[str, Any]]
POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))


@pytest.fixture
def runtime(tiny: template.Template) -> Runtime:
    """The names of a candidate that was tuned for these shapes; its host function computes without a kernel."""

    def runtime(*shapes: Any, host: Any = lambda model, kernel, x: x * model.weight) -> dict[str, Any]:
        tuned = [render.Tuned(POINT, shape, "float32", "Test CPU", "match") for shape in shapes or [((4, 8),)]]
        names: dict[str, Any] = {}
        exec(render.candidate(tiny, tuned).text, names)
        for kernel in names["KERNELS"]:
            kernel.host = host
        return names

    return runtime


# ---- which kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        ((10, 8), (10, 8)),
        ((1000, 8), (1000, 8)),
        ((99, 8), (10, 8)),  # the border is at 100: ratios count, not differences
        ((101, 8), (1000, 8)),
        ((1, 8), (10, 8)),
        ((0, 8), (10, 8)),
        ((10**6, 8), (1000, 8)),
    ],
)
def test_the_kernel_of_the_nearest_ratio_is_taken(
    runtime: Runtime, shape: tuple[int, ...], nearest: tuple[int, ...]
) -> None:
    names = runtime(((10, 8),), ((1000, 8),))
    assert names["nearest_kernel"]((torch.empty(shape),)).shapes == (nearest,)


def test_the_ratios_of_all_axes_count(runtime: Runtime) -> None:
    names = runtime(((10, 80),), ((40, 10),))
    assert names["nearest_kernel"]((torch.empty(20, 20),)).shapes == ((40, 10),)
    assert names["nearest_kernel"]((torch.empty(20, 80),)).shapes == ((10, 80),)


def test_a_kernel_for_other_axes_is_the_farthest(runtime: Runtime) -> None:
    names = runtime(((4, 8, 1),), ((1, 1),))
    assert names["nearest_kernel"]((torch.empty(4, 8),)).shapes == ((1, 1),)


def test_an_only_kernel_is_taken_for_any_shape(runtime: Runtime) -> None:
    assert runtime()["nearest_kernel"]((torch.empty(2, 3, 4),)).shapes == ((4, 8),)


# ---- what a kernel is handed -----------------------------------------------------------------------


@pytest.fixture
def aligned(runtime: Runtime) -> Any:
    return runtime()["aligned"]


def test_none_stays_none(aligned: Any) -> None:
    assert aligned(None) is None


def test_a_contiguous_tensor_is_taken_as_it_is(aligned: Any) -> None:
    x = torch.rand(4, 8)
    assert aligned(x) is x


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(8, 4).t(),
        torch.rand(4, 16)[:, ::2],
        torch.rand(1, 8).expand(4, 8),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.rand(33)[1:].view(4, 8),
    ],
    ids=["transposed", "strided", "expanded", "channels last", "offset"],
)
def test_any_other_is_copied(aligned: Any, x: torch.Tensor) -> None:
    y = aligned(x)
    assert torch.equal(x, y) and y.is_contiguous()
    assert y.data_ptr() % 16 == 0 and y.data_ptr() != x.data_ptr()


def test_an_offset_by_whole_vectors_is_taken_as_it_is(aligned: Any) -> None:
    x = torch.rand(36)[4:]
    assert aligned(x) is x
    assert aligned(x, 32) is not x


# ---- gradients -------------------------------------------------------------------------------------


@pytest.fixture
def model(runtime: Runtime) -> Any:
    return runtime()["ModelNew"](8)


def test_a_backward_raises(model: Any) -> None:
    y = model(torch.rand(4, 8))
    assert y.requires_grad
    with pytest.raises(RuntimeError, match=r"no backward: run it under torch\.no_grad"):
        y.sum().backward()


def test_a_result_that_may_not_be_derived_is_right_all_the_same(model: Any) -> None:
    x = torch.rand(4, 8)
    assert torch.equal(model(x), x * torch.arange(1.0, 9))


def test_without_gradients_the_result_is_plain(model: Any) -> None:
    with torch.no_grad():
        assert not model(torch.rand(4, 8)).requires_grad
    model.requires_grad_(False)
    assert not model(torch.rand(4, 8)).requires_grad


def test_an_input_that_wants_a_gradient_is_refused(model: Any) -> None:
    with pytest.raises(RuntimeError, match="an input requires a gradient"):
        model(torch.rand(4, 8, requires_grad=True))


# ---- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.rand(4, 8, dtype=torch.float64), "found an input that is torch.strided torch.float64"),
        (torch.rand(4, 8).to_sparse(), "found an input that is torch.sparse_coo"),
        (torch.empty(4, 8, device="meta"), "plain is a cpu kernel; the input is on meta"),
    ],
)
def test_an_input_that_no_kernel_takes_is_refused(model: Any, x: torch.Tensor, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        model(x)


def test_a_parameter_of_another_type_is_refused(model: Any) -> None:
    with pytest.raises(RuntimeError, match=r"found a parameter that is torch\.strided torch\.float64"):
        model.double()(torch.rand(4, 8))


def test_autocast_does_not_reach_a_kernel(runtime: Runtime) -> None:
    names = runtime(host=lambda model, kernel, x: x @ x.t())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert names["ModelNew"](8)(torch.rand(4, 8)).dtype == torch.float32
