"""Which kernels a graph becomes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuner.drafting.graph import Graph
from tuner.drafting.plan import Plan, plan
from tuner.drafting.rewrite import free_biases, parted
from tuner.drafting.shorten import shortened

Trace = Callable[..., Graph]


def planned(graph: Graph) -> Plan:
    return plan(parted(free_biases(shortened(graph))))


def kernels(graph: Graph) -> list[tuple[str, str]]:
    return [(kernel.family, kernel.name) for kernel in planned(graph).kernels]


PLANES = "torch.rand(2, 4, 13, 14)"


@pytest.mark.parametrize("after", ["F.max_pool2d(x, 2)", "x.mean((2, 3))", "x"])
def test_statistics_and_what_a_batch_norm_keeps_of_them_are_one_kernel(traced: Trace, after: str) -> None:
    layer = "nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))"
    graph = traced(f"x = self.layer(x)\nreturn {after}", layer=layer, inputs=PLANES)
    made = planned(graph)
    kept = {ref for path, ref in graph.updates if "running" in path}
    assert len(kept) == 2
    assert kept <= {result.ref for result in made.kernels[0].results}
    assert len(made.kernels) == (1 if after == "x" else 2)


def test_a_bias_that_alone_tells_a_size_is_added_to_every_row(traced: Trace) -> None:
    forward = "return x.min(dim=1, keepdim=True)[0] + self.layer.weight.view(1, -1, 1, 1)"
    assert kernels(traced(forward, layer="nn.BatchNorm2d(6)", arguments="x")) == [("rows", "min_1"), ("map", "add")]
