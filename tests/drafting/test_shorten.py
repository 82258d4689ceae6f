"""Reductions over one element go; windows of windows become one where that is the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tuner.drafting.graph import Graph, Reduce, Window
from tuner.drafting.interpret import interpret
from tuner.drafting.shorten import shortened

Trace = Callable[..., Graph]

PLANES = "torch.rand(2, 3, 13, 14)"


def windows(graph: Graph) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(node.kernel, node.stride) for node in graph.nodes if isinstance(node, Window)]


def result(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    return interpret(graph, {}, [x.double()])[graph.outputs[0]]


def same(graph: Graph, other: Graph, x: torch.Tensor) -> bool:
    ours, theirs = result(graph, x), result(other, x)
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "forward",
    [
        "x = x.sum(1, keepdim=True)\nx = x.max(1, keepdim=True)[0].mean(1, keepdim=True)\nreturn x",
        "x = x.sum(1, keepdim=True)\nx = torch.logsumexp(x, 1, keepdim=True)\nreturn torch.logsumexp(x, 1)",
        "x = x.sum(1, keepdim=True)\nreturn x - x.mean(1, keepdim=True)",
    ],
)
def test_reductions_over_one_element_go(traced: Trace, forward: str) -> None:
    graph = traced(forward)
    less = shortened(graph)
    assert len([node for node in less.nodes if isinstance(node, Reduce)]) == 1
    assert same(graph, less, torch.randn(16, 8))


def test_an_infinite_element_stays_its_logsumexp(traced: Trace) -> None:
    graph = traced("x = x.sum(1, keepdim=True)\nreturn torch.logsumexp(x, 1)")
    x = torch.full((16, 8), float("inf"))
    assert result(shortened(graph), x).tolist() == [float("inf")] * 16


@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
def test_pooling_twice_is_one_window(traced: Trace, pool: str) -> None:
    graph = traced(f"return F.{pool}(F.{pool}(x, 2), 3)", inputs=PLANES)
    less = shortened(graph)
    assert windows(less) == [((6, 6), (6, 6))]
    assert same(graph, less, torch.randn(2, 3, 13, 14))


@pytest.mark.parametrize(
    "forward",
    [
        "return F.max_pool2d(F.max_pool2d(x, 2), 2, padding=1)",
        "return F.max_pool2d(F.max_pool2d(x, 1, stride=2), 2)",
        "return F.avg_pool2d(F.avg_pool2d(x, 3, stride=2), 2)",
        "return F.avg_pool2d(F.max_pool2d(x, 2), 2)",
        "return F.max_pool2d(torch.tanh(F.max_pool2d(x, 2)), 2)",
    ],
)
def test_what_no_window_computes_or_others_read_stays_two(traced: Trace, forward: str) -> None:
    assert len(windows(shortened(traced(forward, inputs=PLANES)))) == 2
