"""The skeleton of a candidate's model: model_new.py of the folder, else derived from the problem's own Model."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from pathlib import Path

from tuner.errors import TemplateError
from tuner.template.shared import read

FILE = "model_new.py"
_GIVEN = {"torch", "nn", "math", "super", "__class__"}  # what every candidate has


def model_new(folder: Path) -> str:
    """The text that defines ModelNew, from its first definition on.

    Without a model_new.py the problem's Model is taken with its constructor, and its forward runs the kernel. Raises
    TemplateError where the constructor needs more of the problem's file than functions and classes.
    """
    path = folder / FILE
    if path.is_file():
        return read(path)
    problem = folder / "problem.py"
    return derived(read(problem), problem)


def derived(text: str, problem: Path) -> str:
    """ModelNew from the text of a problem; `problem` is what messages call it."""
    path = problem.with_name(FILE)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise TemplateError(f"{problem}:{error.lineno}: SyntaxError: {error.msg}") from None
    definitions = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    model = definitions.get("Model")
    methods = (
        {n.name: n for n in model.body if isinstance(n, ast.FunctionDef)} if isinstance(model, ast.ClassDef) else {}
    )
    if "forward" not in methods:
        raise TemplateError(f"{problem}: has no class Model with a forward; write {path}")
    needed = _needed(methods, definitions, problem)
    parts = [ast.get_source_segment(text, definitions[name]) or "" for name in needed]
    constructor = [_indented(text, methods["__init__"])] if "__init__" in methods else []
    arguments = methods["forward"].args
    inputs = ", ".join(argument.arg for argument in arguments.args[1:])
    forward = f"    def forward(self, {inputs}):\n        return run(self, {inputs})"
    parts.append(
        "\n\n".join(["class ModelNew(nn.Module):", *constructor, forward]).replace(":\n\n    def", ":\n    def", 1)
    )
    return "\n\n\n".join(parts) + "\n"


def _indented(text: str, method: ast.FunctionDef) -> str:
    return f"    {ast.get_source_segment(text, method)}"


def _needed(methods: dict[str, ast.FunctionDef], definitions: Mapping[str, ast.stmt], problem: Path) -> list[str]:
    """Functions and classes of the problem that the constructor uses, in the file's order."""
    found: set[str] = set()
    pending: list[ast.AST] = [methods[name] for name in ("__init__",) if name in methods]
    while pending:
        node = pending.pop()
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        bound |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        bound |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        for name in sorted(used - bound - _GIVEN - set(dir(builtins)) - found):
            if name not in definitions or name == "Model":
                raise TemplateError(f"{problem}: the constructor of Model uses {name}; write {problem.with_name(FILE)}")
            found.add(name)
            pending.append(definitions[name])
    return [name for name in definitions if name in found]
