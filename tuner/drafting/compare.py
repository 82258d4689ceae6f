"""A graph against the model that it came from: both in float64, on small sizes, on the CPU."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuner.drafting.graph import Constant, Graph, Library, Node, Ref, View
from tuner.drafting.interpret import doubled, interpret
from tuner.drafting.trace import Trace, traced
from tuner.errors import ProblemError
from tuner.problem import Problem, construct, sizes
from tuner.records import TensorSpec, Workload
from tuner.verification.answers import Answer
from tuner.verification.reference import Reference

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor

SEED = 7
TOLERANCE = 1e-6  # of the largest value; both sides are in float64 but where the model itself asks for less
LARGEST = 2**23  # elements of parameters and inputs together
WIDE, NARROW = 32, 16  # a size above WIDE is halved as often as the reference takes it, down to NARROW at the least


@dataclass(frozen=True)
class Comparison:
    """`workload` is what was computed, None where nothing could be: the model is too large whatever its sizes.

    `differing` has a line for each node that came out otherwise than the model's own. `sized` names nodes in which a
    number (of an expression, a kernel) is another at these sizes: what is written with it holds for one workload.
    """

    workload: Workload | None
    differing: tuple[str, ...]
    sized: tuple[str, ...] = ()


def compare(problem: Problem, workload: Workload, graph: Graph) -> Comparison:
    """What differs between `graph`, traced for `workload`, and the model: by the same graph of a smaller workload."""
    for smaller, wider in _smaller(problem, workload):
        if _elements(problem, smaller) > LARGEST:
            continue
        try:
            found = traced(problem, smaller)
            mine = found.lowered.graph
            if _outline(mine) == _outline(graph):
                sized = _sized(mine, graph)
                if sized and wider != smaller:  # by the inputs' sizes alone, or by the constructor's arguments, too?
                    own = traced(problem, wider).lowered.graph
                    sized &= _sized(mine, own) if _outline(mine) == _outline(own) else sized
                names = tuple(node.name for node in mine.nodes if node.name in sized)
                return Comparison(smaller, _differing(problem, smaller, found), names)
        except ProblemError:  # the meta device takes more than the CPU does
            if smaller == workload:
                raise
    return Comparison(None, ())


def _smaller(problem: Problem, workload: Workload) -> Iterator[tuple[Workload, Workload]]:
    """Workloads to compare at, each with one of the same constructor's arguments and larger inputs, if there is one."""
    narrow = narrowed(problem, workload)
    few = narrow.with_batch(2)
    for one in (narrow, few):
        if _elements(problem, one) <= LARGEST and sizes.takes(problem, one):
            yield sizes.odd(problem, one), one
            break
    yield from ((one, one) for one in (narrow, few, workload.with_batch(2), workload))


def narrowed(problem: Problem, workload: Workload) -> Workload:
    """The workload with large sizes halved, the constructor's and the inputs' alike, where the reference takes that."""
    for wide in sorted({n for n in (*_numbers(workload.init), *_numbers(workload.shapes)) if n > WIDE}):
        for narrow in _halved(wide):
            changed = workload.with_init(_replaced(workload.init, wide, narrow)).with_inputs(
                TensorSpec(shape=tuple(narrow if n == wide else n for n in spec.shape), dtype=spec.dtype)
                for spec in workload.inputs
            )
            if sizes.takes(problem, changed):
                workload = changed
                break
    return workload


def _halved(wide: int) -> list[int]:
    """What is left of a size by halving it, the least first: even ones down to NARROW, odd ones further."""
    halves = [wide]
    while halves[-1] > (NARROW if halves[-1] % 2 == 0 else WIDE):
        halves.append(halves[-1] // 2)
    return halves[:0:-1]


def _numbers(value: object) -> Iterator[int]:
    if isinstance(value, tuple | list):
        for one in value:
            yield from _numbers(one)
    elif type(value) is int:
        yield value


def _replaced(value: Any, old: int, new: int) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_replaced(one, old, new) for one in value)
    return new if type(value) is int and value == old else value


def _elements(problem: Problem, workload: Workload) -> int:
    """Of parameters and inputs."""
    import torch

    inputs = sum(math.prod(spec.shape) for spec in workload.inputs)
    with torch.no_grad(), torch.device("meta"):
        try:
            model = construct(problem.model, workload)
        except Exception:  # it reads values: it is built in earnest, as it was when it was traced
            return inputs
    return inputs + sum(x.numel() for x in (*model.parameters(), *model.buffers()))


def _outline(graph: Graph) -> list[object]:
    """What stands in the graph whatever the sizes are."""
    return [(node.name, type(node), node.dtype, node.refs) for node in graph.nodes]


def _sized(one: Graph, other: Graph) -> set[str]:
    """Names of nodes that differ, other than by their shapes, between two graphs of one outline."""
    pairs = zip(_sizeless(one), _sizeless(other), strict=True)
    return {mine.name for mine, theirs in pairs if mine != theirs}


def _sizeless(graph: Graph) -> list[Node]:
    """The nodes without what shapes say already."""

    def sizeless(node: Node) -> Node:
        if isinstance(node, View):
            return replace(node, shape=(), starts=(), batch=False)
        if isinstance(node, Constant) and node.is_position:
            return replace(node, shape=(), call="")
        if isinstance(node, Library):
            return replace(node, shape=(), inner=())
        return replace(node, shape=())

    return [sizeless(node) for node in graph.nodes]


def _differing(problem: Problem, workload: Workload, found: Trace) -> tuple[str, ...]:
    """`x.to(x.dtype)` in a forward is exact in float64, and rounds where the dtype is named: a program tells no more
    of either than the dtype, so it is the model's if it is the same with one of the two.
    """
    rounded = tuple(_differing_with(problem, workload, found, None))
    return rounded and (tuple(_differing_with(problem, workload, found, workload.dtype)) and rounded)


def _differing_with(problem: Problem, workload: Workload, found: Trace, own: str | None) -> Iterator[str]:
    """What differs where casts to the dtype `own` do not round."""
    reference = Reference(problem, workload, "cpu", SEED, 1.0)
    state, graph = reference.affine_state, found.lowered.graph
    held = {name: doubled(x).clone() for name, x in _attributes(reference.double)} | {
        name: doubled(x) for name, x in state.items()
    }
    inputs, oracle = _answered(reference, state)
    values = interpret(graph, held, inputs, own)
    for name, (ref, exact) in _inner(found, values, held, inputs, own).items():
        if (line := _difference(values[ref], exact)) is not None:
            yield f"{ref.node} ({name}): {line}"
    for number, (ref, exact) in enumerate(zip(graph.outputs, oracle.tensors, strict=True)):
        if (line := _difference(values[ref], exact)) is not None:
            yield f"{ref.node} (result {number}): {line}"
    for path, ref in graph.updates:
        if (line := _difference(values[ref], oracle.buffers[path])) is not None:
            yield f"{ref.node} (buffer {path}): {line}"


def _answered(reference: Reference, state: dict[str, Tensor]) -> tuple[list[Tensor], Answer]:
    """Inputs of both signs, or positive ones where the model refuses those or makes NaN, and the model's answer."""
    import torch

    def of(signed: bool) -> tuple[list[Tensor], Answer]:
        rng = torch.Generator().manual_seed(SEED)
        inputs = [_drawn(spec, signed, rng) for spec in reference.workload.inputs]
        return inputs, reference.oracle(state, inputs)

    with contextlib.suppress(ProblemError):
        inputs, answer = of(signed=True)
        if not any(bool(torch.isnan(x).any()) for x in answer.tensors):
            return inputs, answer
    return of(signed=False)


def _drawn(spec: TensorSpec, signed: bool, rng: torch.Generator) -> Tensor:
    """Values for an input; not the problem's own, which may be of many gigabytes. Integers are 0 and 1, for indices."""
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    if not dtype.is_floating_point:
        return torch.randint(2, spec.shape, generator=rng).to(dtype)
    draw = torch.randn if signed else torch.rand
    return draw(spec.shape, generator=rng, dtype=torch.float64).to(dtype)


def _attributes(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that modules hold beside what a state_dict has, which a forward may change."""
    import torch

    for path, module in model.named_modules():
        for name, value in (*vars(module).items(), *module.named_buffers(recurse=False)):
            if isinstance(value, torch.Tensor):
                yield f"{path}.{name}".lstrip("."), value


def _inner(
    found: Trace, values: dict[Ref, Tensor], state: dict[str, Tensor], inputs: list[Tensor], own: str | None
) -> dict[str, tuple[Ref, Tensor]]:
    """What the exported program itself computes where the graph has a result for it, by the program's names."""
    import torch
    from torch import fx
    from torch.export.graph_signature import InputKind

    program, exact = found.program, getattr(torch, own or "float64")

    class Double(fx.Interpreter):
        inner: dict[str, tuple[Ref, Tensor]]

        def run_node(self, node: fx.Node) -> Any:
            result = _doubled(super().run_node(node))
            ref = found.lowered.results.get(node.name)
            if ref is not None and isinstance(result, torch.Tensor) and ref in values:
                self.inner[node.name] = (ref, result)
            return result

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if "_assert" in str(target):
                return None
            rounds = "_to_copy" in str(target) and kwargs.get("dtype") is not exact
            return super().call_function(target, args, _here(kwargs) if rounds else _wide(kwargs))

    given = iter(inputs)
    placed = [
        doubled(next(given) if spec.kind is InputKind.USER_INPUT else _held(spec.target, state, program))
        for spec in program.graph_signature.input_specs
    ]
    runner = Double(program.graph_module)
    runner.inner = {}
    with torch.no_grad():
        runner.run(*placed)
    return runner.inner


def _held(path: Any, state: dict[str, Tensor], program: Any) -> Tensor:
    found = state[path] if path in state else program.constants[path]
    assert not isinstance(found, str)
    return found


def _doubled(value: Any) -> Any:
    import torch

    if isinstance(value, tuple | list):
        return type(value)(_doubled(one) for one in value)
    return doubled(value) if isinstance(value, torch.Tensor) else value


def _here(keywords: dict[str, Any]) -> dict[str, Any]:
    return {name: "cpu" if name == "device" else value for name, value in keywords.items()}


def _wide(keywords: dict[str, Any]) -> dict[str, Any]:
    """Keywords with float64 in the place of every floating-point dtype, on the CPU."""
    import torch

    def wide(value: Any) -> Any:
        return torch.float64 if isinstance(value, torch.dtype) and value.is_floating_point else value

    return {name: wide(value) for name, value in _here(keywords).items()}


def _difference(mine: Tensor, exact: Tensor) -> str | None:
    """How two results differ, in one line."""
    import torch

    if mine.shape != exact.shape:
        return f"shape {list(mine.shape)} where the model has {list(exact.shape)}"
    a, b = (torch.view_as_real(x).double() if x.is_complex() else x.double() for x in (mine, exact))
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    if bool(same.all()):
        return None
    largest = float(b[torch.isfinite(b)].abs().max()) if bool(torch.isfinite(b).any()) else 1.0
    gap = float(torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=math.inf).max())
    return (
        None if gap <= TOLERANCE * max(largest, 1e-30) else f"off by {gap:.3g} where the largest value is {largest:.3g}"
    )
