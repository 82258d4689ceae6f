"""From the ATen graph of an exported program to nodes, by the tables of the lower_ modules.

Runs where torch is imported, in a worker.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.drafting import (
    lower_losses,
    lower_maps,
    lower_norms,
    lower_products,
    lower_reductions,
    lower_views,
    lower_windows,
)
from tuner.drafting.builder import Builder, Full, Value, identifier
from tuner.drafting.constants import constant_call
from tuner.drafting.exporting import BY_VALUES
from tuner.drafting.graph import Constant, Graph, Input, Library, Parameter, Ref
from tuner.drafting.operation import Lowering, Operation
from tuner.drafting.simplify import simplified
from tuner.verification.operators import Operators

if TYPE_CHECKING:
    from torch import fx
    from torch.export import ExportedProgram

TABLE: dict[str, Lowering] = {
    **lower_maps.TABLE, **lower_views.TABLE, **lower_products.TABLE, **lower_reductions.TABLE, **lower_norms.TABLE,
    **lower_losses.TABLE, **lower_windows.TABLE,
}  # fmt: skip
# Operators whose own names say less than what people call them.
_WORDS = {
    "linalg_vector_norm": "norm", "cross_entropy_loss": "cross_entropy", "scaled_dot_product_attention": "attention",
    "_to_copy": "to",
}  # fmt: skip


@dataclass
class Lowered:
    """What came of a program: the graph, which value each result of the program is, and operators left to PyTorch."""

    graph: Graph
    results: dict[str, Ref]
    left: tuple[Any, ...]


class Refused(Exception):
    """An operator that no draft can hold; `node` is where it stands."""

    def __init__(self, node: fx.Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node


class Random(Refused):
    """An operator whose result is another each time."""


def lower(program: ExportedProgram, is_attribute: Callable[[str], bool]) -> Lowered:
    """Nodes of `program`. `is_attribute` tells paths of the model's attributes from tensors made in forward.

    Raises Refused.
    """
    return _Walk(program, is_attribute).lowered()


class _Walk:
    def __init__(self, program: ExportedProgram, is_attribute: Callable[[str], bool]) -> None:
        self.program, self.is_attribute = program, is_attribute
        self.builder = Builder()
        self.values: dict[fx.Node, Any] = {}
        self.left: dict[Any, None] = {}
        self.crowded = _crowded(program.graph)

    def lowered(self) -> Lowered:
        output: fx.Node | None = None
        self._placeholders()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.values[node] = self._called(node)
            elif node.op == "output":
                output = node
        assert output is not None
        outputs, updates = self._results(output)
        made = {node.name: value for node, value in self.values.items() if isinstance(value, Ref)}
        graph, moved = simplified(self.builder, outputs, updates)
        return Lowered(graph, {name: moved[ref] for name, ref in made.items() if ref in moved}, tuple(self.left))

    # ---- what a forward is given ---------------------------------------------------------------------

    def _placeholders(self) -> None:
        from torch.export.graph_signature import InputKind

        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        specs = self.program.graph_signature.input_specs
        users = [spec for spec in specs if spec.kind is InputKind.USER_INPUT]
        for number, spec in enumerate(users):  # first, so that they keep the user's names
            node = nodes[spec.arg.name]
            shape, dtype = _spec(node.meta["val"])
            self.values[node] = self.builder.add(Input(node.name, shape, dtype, index=number), bool(shape))
        for spec in specs:
            if spec.kind is InputKind.USER_INPUT:
                continue
            node, path = nodes[spec.arg.name], str(spec.target)
            shape, dtype = _spec(node.meta["val"])
            if spec.kind is InputKind.CONSTANT_TENSOR and not self.is_attribute(path):
                self.values[node] = self._lifted(node, path, shape, dtype)
                continue
            kept = Parameter(path, shape, dtype, path=path, is_buffer=spec.kind is not InputKind.PARAMETER)
            self.values[node] = self.builder.add(kept)

    def _lifted(self, node: fx.Node, path: str, shape: tuple[int, ...], dtype: str) -> Value:
        """A tensor made of numbers in forward."""
        import torch

        tensor = self.program.constants[path]
        if not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta":
            raise Refused(node, "a tensor made of values in forward cannot be read; make it in the constructor")
        if tensor.numel() == 1 and not tensor.is_complex():
            return Full(float(tensor.item()), shape, dtype)
        call = f"torch.tensor({tensor.tolist()}, dtype=torch.{dtype})"
        return self.builder.add(Constant(identifier(path), shape, dtype, call=call))

    # ---- operators -----------------------------------------------------------------------------------

    def _called(self, node: fx.Node) -> Any:
        import torch

        if node.target is operator.getitem:
            several, number = node.args
            return self.values[several][number]  # type: ignore[index]
        if not isinstance(node.target, torch._ops.OpOverload):
            raise Refused(node, f"{getattr(node.target, '__name__', node.target)} is no operator on tensors")
        if node.target.namespace != "aten":
            raise Refused(node, f"{node.target} is an operator of your own; only PyTorch's can be drafted")
        if "_assert" in node.target.__name__ or node.meta.get("val") is None:
            return None
        if _is_by_values(node.meta["val"]):
            name = node.target.__name__.partition(".")[0].strip("_")
            raise Refused(node, f"what {name} gives is one number or size or another {BY_VALUES}")
        if any(isinstance(one, complex) for one in (*node.args, *node.kwargs.values())):
            raise Refused(node, "a complex number cannot be drafted; make it a tensor in the constructor")
        op = self._operation(node)
        if torch.Tag.nondeterministic_seeded in node.target.tags and not _is_harmless(op):
            raise Random(node, f"{op.operator.removeprefix('native_')} is random: nothing can be judged")
        if _made_of_constants(op):
            folded = constant_call(op, node)
            if folded is not None:
                return self.builder.add(Constant(op.name, op.shape, op.dtype, call=folded))
        self.builder.origin = module_path(node)
        found = None if _is_complex(op) else self._lowered(op)
        if found is None:
            self.left[node.target] = None
            found = self._library(op, node)
        return found

    @staticmethod
    def _lowered(op: Operation) -> Any:
        return lower_losses.batch_mean(op) or (TABLE[op.operator](op) if op.operator in TABLE else None)

    def _operation(self, node: fx.Node) -> Operation:
        arguments = {}
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        for position, argument in enumerate(schema):
            if position < len(node.args):
                given = node.args[position]
            elif argument.name in node.kwargs:
                given = node.kwargs[argument.name]
            else:
                given = argument.default_value if argument.has_default_value() else None
            arguments[argument.name] = self._value(given)
        found = node.meta["val"]
        several = list(found) if isinstance(found, tuple | list) else [found]
        shapes, dtypes = zip(*(_spec(one) for one in several), strict=True)
        uses = [not isinstance(found, tuple | list)] * len(several)
        for user in node.users:
            if user.target is operator.getitem:
                uses[user.args[1]] = bool(user.users)  # type: ignore[index]
        packet = node.target.__name__.split(".")[0]  # type: ignore[union-attr]
        overload = node.target._overloadname  # type: ignore[union-attr]
        name = self._name(node, packet)
        return Operation(self.builder, name, packet, overload, arguments, shapes, dtypes, tuple(uses))

    def _value(self, given: Any) -> Any:
        from torch import fx

        if isinstance(given, fx.Node):
            return self.values[given]
        if isinstance(given, tuple | list):
            return [self._value(one) for one in given]
        return given

    def _name(self, node: fx.Node, packet: str) -> str:
        """The module's path where the operator is all that the module does, else what was called."""
        path, word = module_path(node), _WORDS.get(packet, packet.strip("_"))
        if not path:
            return word
        if _is_counter(node):
            return f"{path}_new_count"
        return f"{path}_{word}" if path in self.crowded or path.rsplit(".", 1)[-1].isdigit() else path

    def _library(self, op: Operation, node: fx.Node) -> Any:
        """A node for each result that is read."""
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        positional = [self._plain(op[a.name]) for a in schema if not a.kwarg_only]
        keywords = [
            (a.name, self._plain(op[a.name]))
            for a in schema
            if a.kwarg_only and a.name in node.kwargs and a.name not in ("device", "layout", "pin_memory")
        ]
        while positional and positional[-1] is None and schema[len(positional) - 1].has_default_value():
            positional.pop()
        several, inner = isinstance(node.meta["val"], tuple | list), _inner(node)
        made = tuple(
            self.builder.add(
                Library(
                    op.name, shape, dtype, operator=f"{op.operator}.{op.overload}", arguments=tuple(positional),
                    keywords=tuple(keywords), result=number if several else None, inner=inner,
                ),
                bool(shape),
            )
            if used
            else None
            for number, (shape, dtype, used) in enumerate(zip(op.shapes, op.dtypes, op.uses, strict=True))
        )  # fmt: skip
        return made if several else made[0]

    def _plain(self, value: Any) -> Any:
        import torch

        if isinstance(value, Full):
            return self.builder.ref(value)
        if isinstance(value, list):
            return tuple(self._plain(one) for one in value)
        return str(value) if isinstance(value, torch.dtype | torch.memory_format) else value

    # ---- what it returns -----------------------------------------------------------------------------

    def _results(self, output: fx.Node) -> tuple[list[Ref], list[tuple[str, Ref]]]:
        from torch import fx
        from torch.export.graph_signature import OutputKind

        outputs, updates = [], []
        (values,) = output.args
        for spec, given in zip(self.program.graph_signature.output_specs, values, strict=True):  # type: ignore[arg-type]
            if not isinstance(given, fx.Node):
                raise Refused(output, f"Model returns {given!r} beside tensors; it wants to return tensors alone")
            ref = self.builder.ref(self.values[given])
            if spec.kind is OutputKind.USER_OUTPUT:
                outputs.append(ref)
            elif spec.kind is OutputKind.BUFFER_MUTATION:
                updates.append((str(spec.target), ref))
                # A short buffer rounds what is stored in it, which nothing in float64 does; buffers are compared.
                self.values.pop(given)
            elif spec.kind is OutputKind.USER_INPUT_MUTATION:
                raise Refused(output, f"forward changes its input {spec.target} in place; it wants to leave it")
            else:
                raise Refused(output, f"forward changes {spec.target}; only buffers can be changed")
        return outputs, updates


def _is_by_values(made: Any) -> bool:
    """Whether a size of what an operator makes, or a number that it reads from a tensor, is known with values alone."""
    import torch

    if isinstance(made, tuple | list):
        return any(map(_is_by_values, made))
    sizes = made.shape if isinstance(made, torch.Tensor) else (made,)
    return any(isinstance(size, torch.SymInt | torch.SymFloat | torch.SymBool) for size in sizes)


def _spec(tensor: Any) -> tuple[tuple[int, ...], str]:
    return tuple(int(n) for n in tensor.shape), str(tensor.dtype).removeprefix("torch.")


def module_path(node: fx.Node) -> str:
    """The path of the innermost module whose forward this is; "" for the model's own."""
    stack = node.meta.get("nn_module_stack") or {}
    last = list(stack.values())[-1:]
    return re.sub(r"@\d+$", "", str(last[0][0])) if last else ""


def _crowded(graph: fx.Graph) -> set[str]:
    """Paths of modules in whose own forward several things are called, a norm and its counter apart."""
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem and node.meta.get("val") is not None:
            path = module_path(node)
            calls[path] = calls.get(path, 0) + (not _is_counter(node))
    return {path for path, count in calls.items() if count > 1}


def _is_counter(node: fx.Node) -> bool:
    """Whether it counts the batches that a norm has seen."""
    return node.target.__name__ == "add.Tensor" and "num_batches_tracked" in str(node.args[0])  # type: ignore[union-attr]


def _inner(node: fx.Node) -> tuple[str, ...]:
    """The operators whose work an operator is that only calls others; none for one with a kernel of its own."""
    import torch
    from torch import fx

    arguments, keywords = fx.map_arg((node.args, dict(node.kwargs)), lambda one: one.meta["val"])
    with torch.no_grad(), Operators() as called:
        node.target(*arguments, **keywords)  # type: ignore[operator]
    own = node.target.__name__.split(".")[0]  # type: ignore[union-attr]
    return tuple(sorted(name for name in called.work if name != own))


def _is_harmless(op: Operation) -> bool:
    """Whether an operator that draws numbers draws none here: nothing is dropped, or all."""
    share = op.get("dropout_p", op.get("dropout", op.get("p")))
    return share == 0 or op.get("train", op.get("training", True)) is False or (share == 1 and "dropout" in op.operator)


def _is_complex(op: Operation) -> bool:
    """Whether an operation is on complex numbers, or makes some: no kernel has elements of that kind."""
    given = [op.dtype_of(value) for value in _tensors(list(op.arguments.values()))]
    return any(dtype.startswith("complex") for dtype in (*op.dtypes, *given))


def _made_of_constants(op: Operation) -> bool:
    """Whether an operation is of constants alone, and no lowering makes a Full of it."""
    if op.operator in lower_maps.FILLS:
        return False
    given = _tensors(list(op.arguments.values()))
    refs = [value for value in given if isinstance(value, Ref)]
    nodes = [op.builder.nodes[ref.node] for ref in refs]
    if (
        op.operator in TABLE
        and "float" not in op.dtype
        and any(isinstance(n, Constant) and n.is_position for n in nodes)
    ):
        return False  # where an element lies is computed where it is needed
    return all(isinstance(op.builder.nodes[ref.node], Constant) for ref in refs) and (
        bool(refs) or op.operator not in TABLE
    )


def _tensors(value: Any) -> list[Value]:
    if isinstance(value, list):
        return [one for each in value for one in _tensors(each)]
    return [value] if isinstance(value, Ref | Full) else []
