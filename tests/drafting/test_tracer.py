"""Graphs as text, and the worker that they come from."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from helpers.problems import write_problem

from tuner import problem
from tuner.drafting.graph import Graph, Input, Library, Map, Ref
from tuner.drafting.graph_json import decode, encode
from tuner.drafting.scalars import Scalar
from tuner.drafting.trace import trace
from tuner.drafting.tracer import OpenTracer, TraceProblem
from tuner.errors import ProblemError
from tuner.workers.worker import Worker, WorkerCrash

CALL_S = 120.0

GRAPH = Graph(
    (
        Input("x", (2, 3), "float32", index=0),
        Map(
            "low", (2, 3), "float32", operands=(Ref("x"),), expression=Scalar.of("add", Scalar.operand(0), -math.inf)
        ),
        Library(
            "sorted", (2, 3), "float32", operator="sort.stable", arguments=(Ref("low"), (1, "a", None, True)), result=0
        ),
    ),
    (Ref("sorted"),),
    (("buffer", Ref("low")),),
)  # fmt: skip


def test_a_graph_comes_back_from_its_text() -> None:
    assert decode(encode(GRAPH)) == GRAPH


@pytest.mark.parametrize(
    "text", ['{"nodes": [{"node": "Function"}]}', "[]", '{"nodes": [], "outputs": [{"node": "x"}]}']
)
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no graph|used before"):
        decode(text)


def test_a_worker_traces_and_compares(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return torch.softmax(self.layer(x), 1)", layer="nn.Linear(8, 4)")
    workload = problem.default_workload(loaded)
    with Worker(OpenTracer(loaded.path)) as worker:
        answer = worker.call(TraceProblem(workload), CALL_S)
    assert answer.graph == trace(loaded, workload)
    assert (answer.compared is not None, answer.differing, answer.sized) == (True, (), ())


def test_a_problem_that_ends_the_process_is_named(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "__import__('os')._exit(3)")
    with (
        Worker(OpenTracer(loaded.path)) as worker,
        pytest.raises(
            WorkerCrash, match=rf"^{re.escape(str(loaded.path))}: the worker exited with code 3 while in trace"
        ),
    ):
        worker.call(TraceProblem(problem.default_workload(loaded)), CALL_S)


def test_a_worker_tells_what_it_refuses(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return torch.rand_like(x)")
    with Worker(OpenTracer(loaded.path)) as worker, pytest.raises(ProblemError, match="random"):
        worker.call(TraceProblem(problem.default_workload(loaded)), CALL_S)
