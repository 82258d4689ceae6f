"""A candidate that trains: its gradients are the reference's, computed once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tuner import template
from tuner.problem import load
from tuner.space import Point
from tuner.template import render

POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))
Build = Callable[..., tuple[Any, Any]]
PROBLEM = """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, size + 1))
        self.norm = nn.BatchNorm1d(size)

    def scaled(self, x):
        return x * self.weight

    def forward(self, x):
        '''A text in the text.'''
        return self.norm(self.scaled(x)).exp()


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return [8]
"""


def host(model: Any, kernel: Any, x: torch.Tensor) -> torch.Tensor:
    """Stands for the kernel."""
    return torch.exp(model.norm(x * model.weight))


@pytest.fixture
def build(tiny_folder: Path) -> Build:
    """A reference, and a candidate for it with the same values."""

    def build(host: Any = host, problem: str = PROBLEM) -> tuple[Any, Any]:
        (tiny_folder / "problem.py").write_text(problem)
        (tiny_folder / "model_new.py").unlink()
        tiny = template.load(tiny_folder)
        tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
        names: dict[str, Any] = {}
        exec(render.candidate(tiny, [tuned], reference=tiny.problem).text, names)
        names["KERNELS"][0].host = host
        reference, model = load(tiny.problem).model(8), names["ModelNew"](8)
        model.load_state_dict(reference.state_dict())
        return reference, model

    return build


@pytest.mark.parametrize("training", [True, False])
def test_its_gradients_are_the_reference_s(build: Build, training: bool) -> None:
    reference, model = build()
    found = []
    for each in (reference.train(training), model.train(training)):
        x = torch.linspace(0, 2, 32).view(4, 8).requires_grad_()
        for _ in range(2):
            each(x).square().sum().backward()
        found.append([x.grad, *(p.grad for p in each.parameters()), *each.buffers()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_what_wants_a_gradient_gets_one(build: Build) -> None:
    _, model = build()
    model.norm.requires_grad_(False)
    x = torch.rand(4, 8)
    model(x).sum().backward()
    assert model.weight.grad is not None and model.norm.weight.grad is None and x.grad is None


def test_without_gradients_the_kernel_runs_alone(build: Build) -> None:
    _, model = build()
    with torch.no_grad():
        assert not model(torch.rand(4, 8)).requires_grad


def test_an_input_that_is_written_after_the_forward_is_said(build: Build) -> None:
    _, model = build()
    x = torch.rand(4, 8)
    y = model(x)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_of_several_results_those_that_have_gradients_give_them(build: Build) -> None:
    text = PROBLEM.replace(".exp()", ".exp(), (x.argmax(1), x.sum(1))")
    reference, model = build(lambda *given: (host(*given), (given[2].argmax(1), given[2].sum(1))), text)
    found = []
    for each in (reference, model):
        x = torch.linspace(0, 2, 32).view(4, 8).requires_grad_()
        y, (at, total) = each(x)
        assert not at.requires_grad
        (y.sum() + total.square().sum()).backward()
        found.append([x.grad, *(p.grad for p in each.parameters())])
    torch.testing.assert_close(*found)


@pytest.mark.skipif(not hasattr(torch.library, "register_fake"), reason="PyTorch before 2.4")
def test_in_a_graph_it_is_refused_in_words(build: Build) -> None:
    _, model = build()
    torch._dynamo.reset()
    with pytest.raises(Exception, match="has no backward in graphs"):
        torch.compile(model, fullgraph=True, backend="eager")(torch.rand(4, 8))
