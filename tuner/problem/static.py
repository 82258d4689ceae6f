"""What the text of a problem file says, without running it: nothing is executed, and torch is not needed."""

from __future__ import annotations

import ast
import contextlib
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
_BEGINNING = 1_000_000  # bytes of a file in which a class would stand
_MAKERS = ("rand", "randn", "zeros", "ones", "empty")  # of a tensor, from its sizes


def faults(path: Path) -> list[str]:
    """What a problem file lacks of the KernelBench format, each with its file and, where there is one, its line."""
    tree = _parsed(path)
    if isinstance(tree, str):
        return [tree]
    names = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
            if isinstance(target, ast.Name)}  # fmt: skip
    imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    found = [
        f"{path}: defines no {name}; a problem file has Model, get_inputs and get_init_inputs"
        for name in ("Model", "get_inputs", "get_init_inputs")
        if name not in names and name not in made | imported
    ]
    found += [
        f"{path}:{node.lineno}: the reference is still to be written: Model.forward raises NotImplementedError"
        for node in _body(names.get("Model"), "forward")
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)
    ]
    for method, getter in (("__init__", "get_init_inputs"), ("forward", "get_inputs")):
        taken, given = constructor(path, "Model", method), names.get(getter)
        values = _returned(given) if isinstance(given, ast.FunctionDef) else None
        if taken is None or values is None or any(isinstance(value, ast.Starred) for value in values):
            continue
        least, most = taken
        if not least <= len(values) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            line = given.lineno if given else 0
            found.append(f"{path}:{line}: {getter} returns {len(values)} values; Model.{method} takes {wanted}")
    return found


def has_model(path: Path) -> bool:
    """Whether a line of a file begins a class Model, so that it is a problem file, whatever its name."""
    try:
        with path.open("rb") as file:
            return re.search(rb"^class Model\(", file.read(_BEGINNING), re.MULTILINE) is not None
    except OSError:
        return False


def own_workload(path: Path) -> tuple[list[Any], list[tuple[int, ...]]] | None:
    """Constructor's arguments and input shapes, where the text says them in plain numbers."""
    tree = _parsed(path)
    if isinstance(tree, str):
        return None
    known: dict[str, Any] = {}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            _assign(node.targets[0], node.value, known)
    try:
        init = [_value(value, known) for value in _returned(functions["get_init_inputs"]) or ()]
        shapes = [_shape(value, known) for value in _returned(functions["get_inputs"]) or ()]
    except (ValueError, KeyError, ArithmeticError):
        return None
    return (init, shapes) if shapes else None


def constructor(path: Path, name: str, method: str = "__init__") -> tuple[int, float] | None:
    """The least and the most positional arguments that a method of a class takes; None where that is not said."""
    found = arguments(path, name, method)
    if found is None:
        return None
    least, most = positional(found)
    return least - 1, most - 1


def positional(taken: ast.arguments) -> tuple[int, float]:
    """The least and the most positional arguments of a function."""
    most = len(taken.posonlyargs) + len(taken.args)
    return max(0, most - len(taken.defaults)), float("inf") if taken.vararg else most


def arguments(path: Path, name: str, method: str = "__init__") -> ast.arguments | None:
    """The parameters of a method of a file's class; None where it has none of its own."""
    tree = _parsed(path)
    if isinstance(tree, str):
        return None
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    methods = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef) and node.name == method]
    return methods[0].args if methods else None


def _body(model: ast.stmt | None, method: str) -> list[ast.stmt]:
    """The statements of a class's method, short of what is nested in them."""
    inside = model.body if isinstance(model, ast.ClassDef) else []
    return next((node.body for node in inside if isinstance(node, ast.FunctionDef) and node.name == method), [])


def _parsed(path: Path) -> ast.Module | str:
    try:
        return ast.parse(path.read_bytes())
    except FileNotFoundError:
        return f"{path}: no such problem file"
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{path}{f':{line}' if line else ''}: {type(error).__name__}: {getattr(error, 'msg', error)}"


def _returned(function: ast.FunctionDef) -> list[ast.expr] | None:
    """The elements of the list that a function returns, of its one return statement."""
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    if len(returns) != 1 or not isinstance(returns[0].value, ast.List | ast.Tuple):
        return None
    local = {
        node.targets[0].id: node.value
        for node in function.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return [local.get(e.id, e) if isinstance(e, ast.Name) else e for e in returns[0].value.elts]


def _assign(target: ast.expr, value: ast.expr, known: dict[str, Any]) -> None:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        for inner, element in zip(target.elts, value.elts, strict=True):
            _assign(inner, element, known)
    elif isinstance(target, ast.Name):
        known.pop(target.id, None)
        with contextlib.suppress(ValueError, KeyError, ArithmeticError):
            known[target.id] = _value(value, known)


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Raises ValueError for what is more than numbers, texts, tuples, lists and arithmetic; KeyError for a name."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Tuple | ast.List):
        return [_value(element, known) for element in node.elts]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left, known), _value(node.right, known))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    raise ValueError(ast.unparse(node))


def _shape(node: ast.expr, known: Mapping[str, Any]) -> tuple[int, ...]:
    """The sizes of `torch.rand(2, n)`, `torch.rand((2, n))`, or with a method behind it that keeps them."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        raise ValueError(ast.unparse(node))
    if node.func.attr in ("half", "float", "double", "bfloat16", "to", "contiguous"):
        return _shape(node.func.value, known)
    if node.func.attr not in _MAKERS:
        raise ValueError(ast.unparse(node))
    sizes: list[Any] = []
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            sizes += _value(argument.value, known)
        else:
            value = _value(argument, known)
            sizes += value if isinstance(value, list) else [value]
    if not all(type(size) is int for size in sizes):
        raise ValueError(ast.unparse(node))
    return tuple(sizes)
