"""Problems of a few lines, traced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.problems import write_problem

from tuner import problem
from tuner.drafting.compare import Comparison, compare
from tuner.drafting.graph import Graph
from tuner.drafting.trace import trace

Traced = Callable[..., Graph]  # the fixture `traced`


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    """The graph of a problem of the given forward, layer and inputs; it has been compared with the model."""

    def make(forward: str, **parts: str) -> Graph:
        torch.set_num_threads(1)
        loaded = write_problem(tmp_path, forward, **parts)
        workload = problem.default_workload(loaded)
        graph = trace(loaded, workload)
        found: Comparison = compare(loaded, workload, graph)
        assert found.workload is not None
        assert found.differing == ()
        return graph

    return make
