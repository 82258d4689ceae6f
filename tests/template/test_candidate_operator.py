"""A candidate as an operation of PyTorch: in graphs, and on tensors that have no values."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from tuner import template
from tuner.space import Point
from tuner.template import render

POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))
Host = Callable[..., Any]
X = torch.rand(4, 8)

needs_operators = pytest.mark.skipif(not hasattr(torch.library, "register_fake"), reason="PyTorch before 2.4")


def scale(model: Any, kernel: Any, x: Any) -> Any:
    """Stands for the host function: computes by PyTorch, and allocates and launches as one does."""
    out = torch.empty_like(x)
    kernel.launch("scale", x, model.weight, out)
    return out


class Launch:
    """Stands for a kernel's launch: the product, written into the last argument. `launched` counts."""

    def __init__(self) -> None:
        self.launched = 0

    def __call__(self, symbol: str, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
        assert not isinstance(x, torch._subclasses.FakeTensor)
        self.launched += 1
        out.copy_(x * weight)


@pytest.fixture
def module(tiny: template.Template) -> Iterator[ModuleType]:
    """A candidate of `tiny` as an importable module, whose kernel is stood for."""
    made = ModuleType("tiny_candidate")
    sys.modules["tiny_candidate"] = made
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    exec(render.candidate(tiny, [tuned]).text, made.__dict__)
    made.KERNELS[0].host, made.KERNELS[0].launch = scale, Launch()
    yield made
    del sys.modules["tiny_candidate"]


@pytest.fixture
def model(module: ModuleType) -> Any:
    return module.ModelNew(8)


@needs_operators
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_model_is_compiled_without_a_break(model: Any, backend: str) -> None:
    torch._dynamo.reset()
    y = torch.compile(model, fullgraph=True, backend=backend)(X)
    assert torch.equal(y, X * model.weight) and not y.requires_grad


@needs_operators
def test_another_model_s_graph_has_its_own_parameters(module: ModuleType) -> None:
    torch._dynamo.reset()
    one, two = module.ModelNew(8), module.ModelNew(8)
    two.weight.data *= 2
    for model in (one, two):
        assert torch.equal(torch.compile(model, fullgraph=True, backend="eager")(X), X * model.weight)


@needs_operators
def test_the_operation_passes_opcheck(model: Any) -> None:
    state = [p.detach() for p in model.parameters()]
    torch.library.opcheck(model.operation, (model.name_in_graphs, [X], state))


@needs_operators
def test_the_operation_takes_the_parameters_that_it_is_given(model: Any) -> None:
    (y,) = model.operation(model.name_in_graphs, [X], [torch.full((8,), 3.0)])
    assert torch.equal(y, X * 3)
    assert torch.equal(model(X), X * model.weight)


@needs_operators
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_model_keeps_it(model: Any, strict: bool) -> None:
    exported = torch.export.export(model, (X,), strict=strict)
    assert any(node.target is model.operation for node in exported.graph.nodes)
    assert torch.equal(exported.module()(X), X * model.weight)


@needs_operators
def test_tensors_without_values_give_one_and_launch_nothing(module: ModuleType) -> None:
    with FakeTensorMode():
        y = module.ModelNew(8)(torch.rand(4, 8))
    assert isinstance(y, torch._subclasses.FakeTensor) and y.shape == (4, 8)
    assert module.KERNELS[0].launch.launched == 0


@needs_operators
def test_a_result_that_is_an_input_is_copied(module: ModuleType, model: Any) -> None:
    module.KERNELS[0].host = lambda model, kernel, x: x
    (y,) = model.operation(model.name_in_graphs, [X], [model.weight.detach()])
    assert torch.equal(y, X) and y.data_ptr() != X.data_ptr()


@needs_operators
def test_several_results_are_several(module: ModuleType, model: Any) -> None:
    module.KERNELS[0].host = lambda model, kernel, x: (x + 1, x + 2)
    model.requires_grad_(False)
    torch._dynamo.reset()
    one, two = torch.compile(model, fullgraph=True, backend="eager")(X)
    assert torch.equal(one, X + 1) and torch.equal(two, X + 2)


@needs_operators
def test_a_model_that_is_gone_is_named(module: ModuleType, model: Any) -> None:
    with pytest.raises(RuntimeError, match="the ModelNew that this graph was made of is gone"):
        model.operation("no such", [X], [])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_a_name_of_its_own(module: ModuleType, model: Any, again: Callable[[Any], Any]) -> None:
    other = again(model)
    assert other.name_in_graphs != model.name_in_graphs
    assert module.MODELS[other.name_in_graphs] is other
    assert torch.equal(other(X), model(X))


def test_names_keep_no_model_alive(module: ModuleType) -> None:
    name = module.ModelNew(8).name_in_graphs
    assert name not in module.MODELS


def test_the_constructor_looks_as_it_did(module: ModuleType) -> None:
    import inspect

    assert list(inspect.signature(module.ModelNew).parameters) == ["size"]


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad])
def test_a_transform_is_refused_in_one_line(model: Any, transform: Any) -> None:
    with pytest.raises(RuntimeError, match=r"does not run inside vmap or another of torch\.func"):
        transform(lambda x: model(x).sum())(torch.rand(3, 4, 8))
