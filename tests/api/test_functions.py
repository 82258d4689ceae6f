"""Functions that were given, as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tuner.api.functions import as_expression, as_function
from tuner.errors import ConfigError

ELSEWHERE = 3


def named(x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
    """Not needed."""
    total = x * scale
    return total


def run(text: str, name: str) -> Any:
    names: dict[str, Any] = {"torch": torch}
    exec(text, names)
    return names[name]


def test_a_lambda_becomes_a_function() -> None:
    text = as_function(lambda x: x.softmax(1), "reference", "reference")
    assert text == "def reference(x):\n    return x.softmax(1)\n"


def test_a_function_keeps_its_body_under_another_name() -> None:
    made = run(as_function(named, "other", "reference"), "other")
    assert made(3) == 6.0 and made.__name__ == "other"


def test_lambdas_of_one_line_are_told_apart() -> None:
    one, two = (lambda x: x + 1), (lambda x: x + 2)
    texts = [as_expression(each, "k") for each in (one, two)]
    assert texts == ["lambda x: x + 1", "lambda x: x + 2"]


def test_a_lambda_over_several_lines_is_whole() -> None:
    made: Callable[..., Any] = lambda x, out: (  # noqa: E731
        x,
        out,
        *x.shape,
    )
    assert as_expression(made, "arguments") == "lambda x, out: (x, out, *x.shape)"


def test_a_lambda_in_a_lambda_is_a_part_of_it() -> None:
    text = as_expression(lambda k, f: any(map(lambda n: n > k.a, f.sizes)), "rule")
    assert text == "lambda k, f: any(map(lambda n: n > k.a, f.sizes))"


def test_what_other_processes_do_not_have_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^reference: uses ELSEWHERE, which other processes do not have"):
        as_function(lambda x: x + ELSEWHERE, "reference", "reference")


@pytest.mark.parametrize("function", [len, torch.softmax, 3, eval("lambda x: x")])
def test_what_has_no_text_is_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match=r"^reference: "):
        as_function(function, "reference", "reference")
