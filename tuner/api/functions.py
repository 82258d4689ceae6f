"""The text of a function that was given: a search runs it in other processes, and an exported file carries it."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
from collections.abc import Callable, Set
from typing import Any

from tuner.errors import ConfigError

_KNOWN = {"torch", "nn", "math"}  # what the files that the text goes into have


def as_function(function: Callable[..., Any], name: str, role: str) -> str:
    """The text of a `def NAME(...)` that does what a function does. Raises ConfigError, which names `role`."""
    node = _node(function, role)
    _require_self_contained(node, role)
    if isinstance(node, ast.Lambda):
        return f"def {name}({ast.unparse(node.args)}):\n    return {ast.unparse(node.body)}\n"
    node.name, node.decorator_list, node.returns = name, [], None
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    return ast.unparse(node) + "\n"


def as_class(given: type, name: str, role: str) -> str:
    """The text of a class of modules, as `class NAME`. Raises ConfigError, which names `role`."""
    code = getattr(given.__dict__.get("forward"), "__code__", None)
    if code is None:
        raise ConfigError(f"{role}: {given.__name__} defines no forward of its own")
    tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and node.name == given.__name__
        and any(isinstance(n, ast.FunctionDef) and _is_of(n, code) for n in node.body)
    ]
    if len(nodes) != 1:
        raise ConfigError(f"{role}: the text of {given.__name__} is not to be had; write it in a file or in a notebook")
    node = nodes[0]
    node.name, node.decorator_list = name, []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id == given.__name__:
            inner.id = name
        elif isinstance(inner, ast.arg):
            inner.annotation = None
        elif isinstance(inner, ast.FunctionDef):
            inner.returns = None
    _require_self_contained(node, role, {name})
    return ast.unparse(node) + "\n"


def as_expression(function: Callable[..., Any], role: str) -> str:
    """The text of a lambda. Raises ConfigError for any other function."""
    node = _node(function, role)
    _require_self_contained(node, role)
    if not isinstance(node, ast.Lambda):
        raise ConfigError(f"{role}: wants a lambda")
    return ast.unparse(node)


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def _node(function: Callable[..., Any], role: str) -> ast.Lambda | ast.FunctionDef:
    """Where the function stands in its file, or in its notebook's cell."""
    code = getattr(function, "__code__", None)
    if code is None:
        raise ConfigError(f"{role}: wants a lambda or a function, not {function!r}")
    lines = linecache.getlines(code.co_filename)
    if not lines:
        raise ConfigError(f"{role}: its text is not to be had; write it in a file or in a notebook")
    kinds = (ast.Lambda, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse("".join(lines))) if isinstance(n, kinds) and _is_of(n, code)]
    if len(nodes) != 1:
        raise ConfigError(f"{role}: {code.co_filename}:{code.co_firstlineno}: its text is not to be told from others'")
    return nodes[0]


def _is_of(node: ast.Lambda | ast.FunctionDef, code: Any) -> bool:
    """Whether a node is what a code object was compiled from: same name and parameters, all instructions within it."""
    named = node.name if isinstance(node, ast.FunctionDef) else "<lambda>"
    arguments = node.args
    parameters = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    if named != code.co_name or parameters != list(code.co_varnames[: len(parameters)]):
        return False
    body = node.body if isinstance(node, ast.Lambda) else node
    first, last = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column is not None]
    # The instruction that a function begins with stands at the first line's very start.
    return all(first <= place <= last for place in places if place != (code.co_firstlineno, 0))


def _require_self_contained(node: ast.AST, role: str, own: Set[str] = frozenset()) -> None:
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    bound = {n.id for n in names if not isinstance(n.ctx, ast.Load)} | {
        n.arg for n in ast.walk(node) if isinstance(n, ast.arg)
    }
    bound |= {a.asname or a.name for n in ast.walk(node) if isinstance(n, ast.Import) for a in n.names}
    for name in sorted({n.id for n in names} - bound - own - _KNOWN - set(dir(builtins))):
        raise ConfigError(f"{role}: uses {name}, which other processes do not have; it may use torch, nn and math")
