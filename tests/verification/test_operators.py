"""Whose work it is."""

from __future__ import annotations

import threading

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from tuner.verification.operators import Everywhere, Operators, both, fallbacks, own_work

A, B, C = torch.rand(8, 4), torch.rand(4, 8), torch.rand(8)


def products_and_views() -> None:
    y = torch.mm(A, B).t().contiguous()
    y.add_(C)
    y[0].sigmoid()


def whole_results() -> None:
    y = torch.mm(A, B)
    y.tanh()
    y.sum(1)


def test_the_size_of_a_reference_is_its_product_s() -> None:
    with Operators() as operators:
        whole_results()
    assert operators.large() == 64


def test_the_size_of_a_reference_without_a_product_is_its_largest_tensor_s() -> None:
    with Operators() as operators:
        torch.ones(4).sigmoid()
        torch.ones(9).relu()
    assert operators.large() == 9


@pytest.mark.parametrize("recorder", [Operators, Everywhere])
def test_products_views_and_small_tensors_are_no_fall_back(recorder: type[Operators] | type[Everywhere]) -> None:
    with recorder() as active:
        products_and_views()
    assert fallbacks(active.work, 64) == set()


@pytest.mark.parametrize("recorder", [Operators, Everywhere])
def test_work_on_whole_results_is_a_fall_back(recorder: type[Operators] | type[Everywhere]) -> None:
    with recorder() as active:
        whole_results()
    assert fallbacks(active.work, 64) == {"tanh", "sum"}


def test_the_trace_sees_other_threads_and_disabled_modes() -> None:
    x = torch.ones(100)
    thread = threading.Thread(target=x.exp)
    with Everywhere() as everywhere:
        thread.start()
        thread.join()
        with _disable_current_modes():
            x.tanh()
    assert fallbacks(everywhere.work, 100) == {"exp", "tanh"}


def test_pieces_add_up() -> None:
    with Operators() as operators:
        for part in torch.ones(10, 10):
            part.relu()
    assert fallbacks(operators.work, 100) == {"relu"} and fallbacks(operators.work, 101) == set()


def test_two_views_of_one_forward_do_not_add_up() -> None:
    assert both({"relu": 3, "sum": 1}, {"relu": 2, "exp": 5}) == {"relu": 3, "sum": 1, "exp": 5}


def test_without_a_size_nothing_is_judged() -> None:
    assert fallbacks({"relu": 10**9}, None) == set()


def test_the_case_names_what_was_left_to_pytorch() -> None:
    case = own_work({"sum", "relu"})
    assert (case.name, case.ok, case.detail) == ("own work", False, "falls back to PyTorch's own relu, sum")
    assert own_work(set()).ok


def test_what_is_declared_may_be_left_to_pytorch_in_place_or_not() -> None:
    case = own_work({"relu_", "_softmax"}, ("relu", "softmax"))
    assert (case.ok, case.detail) == (True, "leaves _softmax, relu_ to PyTorch")


def test_what_is_declared_covers_nothing_else() -> None:
    case = own_work({"sum", "relu"}, ("relu",))
    assert (case.ok, case.detail) == (False, "falls back to PyTorch's own sum")


def test_what_is_declared_and_not_called_is_fine() -> None:
    case = own_work(set(), ("relu",))
    assert (case.ok, case.detail) == (True, "")


LIBRARY = torch.library.Library("tuner_tests", "DEF")  # its operators last as long as it does
LIBRARY.define("conv(Tensor x) -> Tensor")
LIBRARY.impl("conv", lambda x: x.tanh(), "CPU")


def test_a_custom_operator_hides_nothing_whatever_its_name() -> None:
    x = torch.ones(100)
    with Operators() as operators, Everywhere() as everywhere:
        torch.ops.tuner_tests.conv(x)
    assert operators.products == 0
    assert "tanh" in fallbacks(everywhere.work, 100)


@pytest.mark.parametrize("name", ["conv", "aten::conv2d"])
def test_a_profiler_s_scope_hides_nothing_whatever_its_name(name: str) -> None:
    x = torch.ones(100)
    with Everywhere() as everywhere, torch.profiler.record_function(name):
        x.tanh()
    assert "tanh" in fallbacks(everywhere.work, 100)


def test_what_an_operator_calls_inside_itself_is_its_own() -> None:
    with Everywhere() as everywhere:
        torch.ones(4, 25).logsumexp(1)
    assert everywhere.work == {"logsumexp": 100}


def test_what_a_product_calls_inside_itself_is_its_own() -> None:
    linear = torch.nn.Linear(4, 64)
    with torch.no_grad(), Everywhere() as everywhere:
        linear(A)
    assert fallbacks(everywhere.work, 64) == set()
