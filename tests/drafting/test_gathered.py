"""Poolings that are computed where they are reduced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuner.drafting.channels_last import last_plan
from tuner.drafting.graph import Graph
from tuner.drafting.plan import plan, reads_of
from tuner.drafting.rewrite import free_biases, parted

Trace = Callable[..., Graph]

CONVOLVED = {"layer": "nn.Conv2d(4, 8, 3)", "inputs": "torch.rand(2, 4, 13, 14)"}


def prepared(graph: Graph) -> Graph:
    return parted(free_biases(graph))


@pytest.mark.parametrize(
    ("forward", "family"),
    [
        ("return F.max_pool2d(self.layer(x), 2).mean((2, 3))", "rows"),
        ("return torch.logsumexp(F.max_pool2d(torch.tanh(self.layer(x)), 2), 1)", "columns"),
        ("return torch.sigmoid(F.avg_pool2d(self.layer(x), 4)).sum((1, 2, 3))", "rows"),
    ],
)
def test_a_pooling_that_one_reduction_reads_is_not_written(traced: Trace, forward: str, family: str) -> None:
    (kernel,) = plan(prepared(traced(forward, **CONVOLVED))).kernels
    assert kernel.family == family
    assert [ref.node for ref in reads_of(kernel)] == ["layer", "layer_bias"]


@pytest.mark.parametrize(
    "forward",
    [
        "x = F.max_pool2d(self.layer(x), 2)\nreturn x - x.mean((2, 3), keepdim=True)",
        "return F.max_pool2d(self.layer(x), 3, stride=2).mean((2, 3))",
        "return F.max_pool2d(self.layer(x), 6).mean((2, 3))",
        "return torch.softmax(F.max_pool2d(self.layer(x), 2), 1).amax(1)",
    ],
)
def test_others_are_written_first(traced: Trace, forward: str) -> None:
    first, second = plan(prepared(traced(forward, **CONVOLVED))).kernels
    assert first.family == "windows"
    assert second.window is None


@pytest.mark.parametrize(
    ("forward", "family"),
    [
        ("return F.max_pool2d(self.layer(x), 2).mean((2, 3))", "columns"),
        ("return torch.logsumexp(F.max_pool2d(self.layer(x), 2), 1)", "rows"),
    ],
)
def test_a_pooling_that_is_not_written_leaves_a_convolution_channels_last(
    traced: Trace, forward: str, family: str
) -> None:
    made = last_plan(prepared(traced(forward, **CONVOLVED)))
    assert made is not None
    (kernel,) = made.kernels
    assert kernel.family == family
    assert [axis.name for axis in kernel.space] == ["samples", "height", "width", "channels"]
