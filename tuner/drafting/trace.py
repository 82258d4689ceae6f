"""From a problem to its graph. Runs in a worker: it is the user's own code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.drafting import lower
from tuner.drafting.exporting import export
from tuner.drafting.graph import Graph, Input
from tuner.errors import ProblemError, UnjudgeableError
from tuner.problem import Problem, definition
from tuner.records import Workload
from tuner.verification.preconditions import INDEPENDENT

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

# Operators that PyTorch has kernels for that beat their parts.
WHOLE = frozenset(f"aten::{name}" for name in ("scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu"))


@dataclass(frozen=True)
class Trace:
    """A graph, the program that it was lowered from, and the module."""

    program: ExportedProgram
    module: torch.nn.Module
    lowered: lower.Lowered


def trace(problem: Problem, workload: Workload) -> Graph:
    """What the reference computes, for `workload`, in the mode that its constructor leaves it in.

    Raises UnjudgeableError where that is random or depends on no input, ProblemError where it depends on values or is
    no tensor.
    """
    graph = traced(problem, workload).lowered.graph
    if not _reads_inputs(graph):
        raise UnjudgeableError(f"{problem.path}: {INDEPENDENT}")
    return graph


def _reads_inputs(graph: Graph) -> bool:
    """Whether the value of an input is on the way to anything that the graph gives."""
    wanted = {ref.node for ref in (*graph.outputs, *(ref for _, ref in graph.updates))}
    for node in reversed(graph.nodes):
        if node.name in wanted:
            wanted.update(ref.node for ref in node.refs)
    return any(isinstance(node, Input) and node.name in wanted for node in graph.nodes)


def traced(problem: Problem, workload: Workload) -> Trace:
    """`trace`, with what it came from."""
    program, module = export(problem, workload)

    def is_attribute(path: str) -> bool:
        return _attribute(module, path) is not None

    try:
        best = lower.lower(program, is_attribute)
        for operator in best.left:  # each is broken up where nothing of it is left to PyTorch then
            broken = None if operator._schema.name in WHOLE else _broken_up(program, operator)
            if broken is not None:
                other = lower.lower(broken, is_attribute)
                if set(other.left) < set(best.left):
                    program, best = broken, other
    except lower.Refused as refused:
        kind = UnjudgeableError if isinstance(refused, lower.Random) else ProblemError
        raise kind(f"{_place(problem, module, refused.node)}: {refused}") from refused
    return Trace(program, module, best)


def _broken_up(program: ExportedProgram, operator: Any) -> ExportedProgram | None:
    """The program with `operator` in terms of simpler ones, as PyTorch itself breaks it up; None where it does not."""
    import torch

    known = torch._decomp.core_aten_decompositions()
    if operator not in known:
        return None
    here = {node.target for node in program.graph.nodes}
    wanted = {
        op: rule
        for op, rule in known.items()
        if op is operator or (op not in here and op._schema.name.split("::")[1] not in lower.TABLE)
    }
    with torch.no_grad():
        broken: ExportedProgram = program.run_decompositions(wanted)
    return broken


def _attribute(module: torch.nn.Module, path: str) -> object:
    found: object = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _place(problem: Problem, model: torch.nn.Module, node: Any) -> str:
    """The file, the line in it, and the module, that a node of the program came from."""
    lines = re.findall(rf'File "{re.escape(str(problem.path))}", line (\d+)', node.meta.get("stack_trace") or "")
    where = f"{problem.path}:{lines[-1]}" if lines else definition(problem.path, model.forward)
    module = lower.module_path(node)
    return f"{where}: {module}" if module else where
