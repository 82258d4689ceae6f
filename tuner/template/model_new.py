"""The skeleton of a candidate's model: model_new.py of the folder, else derived from the problem's own Model."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tuner.errors import TemplateError
from tuner.template.shared import read

FILE = "model_new.py"
_GIVEN = {"torch", "nn", "math", "super", "__class__", "__name__", "__file__"}  # what every candidate has
_PLAIN = ("nn.Module", "torch.nn.Module", "Module")
_OLD_SUPER = re.compile(r"\bsuper\(\s*Model\s*,\s*self\s*\)")  # of a class that has another name now


def model_new(folder: Path) -> str:
    """The text that defines ModelNew.

    Without a model_new.py the problem's Model is taken with its constructor, and its forward runs the kernel. Raises
    TemplateError where the constructor needs what the problem's file does not have.
    """
    path = folder / FILE
    if path.is_file():
        return read(path)
    problem = folder / "problem.py"
    try:
        return derived(read(problem))
    except SyntaxError as error:
        raise TemplateError(f"{problem}:{error.lineno}: SyntaxError: {error.msg}") from None
    except NotDerived as fault:
        raise TemplateError(f"{problem}: {fault}; write {path}") from None


class NotDerived(TemplateError):
    """A problem's text does not say how its Model is constructed; the words name no file."""


def derived(text: str, inputs: int | None = None) -> str:
    """ModelNew from the text of a problem, with whatever else of the file its constructor and its base classes use.

    Its forward takes `inputs` tensors, all that Model's takes when left out. Raises NotDerived and SyntaxError.
    """
    tree = ast.parse(text)
    model = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Model"), None)
    if model is None:
        raise NotDerived("there is no class Model")
    own = _constructor({n.name: n for n in model.body if isinstance(n, ast.FunctionDef)})
    bases = [base for base in model.bases if ast.unparse(base) not in _PLAIN]
    others = [statement for statement in tree.body if statement is not model]
    lines = text.splitlines()
    parts = [_text(lines, statement) for statement in _needed([*own, *map(ast.Expr, bases)], others)]
    methods = [_OLD_SUPER.sub("super()", _text(lines, method)) for method in own]
    if bases and not any(method.name == "__init__" for method in own):
        methods.append("    def __init__(self, *given):\n        super().__init__(*given)")
    given = ", ".join(_given(_forward(model, tree), inputs))
    methods.append(f"    def forward(self, {given}):\n        return run(self, {given})")
    of = ", ".join(map(ast.unparse, model.bases)) if bases else "nn.Module"
    body = "\n\n".join(methods)
    return "".join(f"{part}{end}" for part, end in _spaced([*parts, f"class ModelNew({of}):\n{body}"]))


def _forward(model: ast.ClassDef, tree: ast.Module) -> ast.arguments | None:
    """The parameters of the forward that a class has or inherits in this file; None where it is made otherwise."""
    for node in model.body:
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            return node.args
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "forward" for t in node.targets):
            return node.value.args if isinstance(node.value, ast.Lambda) else None
    before = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef) and n.lineno < model.lineno}
    bases = [before[base.id] for base in model.bases if isinstance(base, ast.Name) and base.id in before]
    return next(filter(None, (_forward(base, tree) for base in bases)), None)


def _given(taken: ast.arguments | None, inputs: int | None) -> list[str]:
    """The parameters of ModelNew's forward; their own names where Model's are not known."""
    if taken is None:
        return ["*inputs"] if inputs is None else [f"input_{number + 1}" for number in range(inputs)]
    given = [argument.arg for argument in (*taken.posonlyargs, *taken.args)][1:][:inputs]
    if taken.vararg is not None and (inputs is None or len(given) < inputs):
        given.append(f"*{taken.vararg.arg}")
    return given


def without_given(text: str) -> str:
    """A skeleton without its docstring and the imports that every candidate has, which serve editors only."""
    tree = ast.parse(text)

    def serves_editors(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return _bound(statement) <= _GIVEN
        return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

    kept = next((statement for statement in tree.body if not serves_editors(statement)), None)
    if kept is None:
        raise TemplateError(f"{FILE}: defines nothing")
    decorators = getattr(kept, "decorator_list", [])
    first = min([kept.lineno, *(decorator.lineno for decorator in decorators)])
    return "".join(text.splitlines(keepends=True)[first - 1 :])


def _constructor(methods: dict[str, ast.FunctionDef]) -> list[ast.FunctionDef]:
    """The constructor and the methods that it calls, in the file's order."""
    found: set[str] = set()
    pending = ["__init__"] if "__init__" in methods else []
    while pending:
        name = pending.pop()
        found.add(name)
        used = {n.attr for n in ast.walk(methods[name]) if isinstance(n, ast.Attribute)}
        pending += sorted(used & set(methods) - found - {"forward"})
    return [method for name, method in methods.items() if name in found]


def _text(lines: list[str], statement: ast.stmt) -> str:
    """A statement's lines, decorators included."""
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(lines[first - 1 : statement.end_lineno])


def _spaced(parts: list[str]) -> Iterator[tuple[str, str]]:
    """Each part and what follows it: nothing between statements, two empty lines around definitions."""
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        apart = following and any(text.startswith(("class ", "def ", "@")) for text in (part, following))
        yield part, "\n\n\n" if apart else "\n"


def _needed(own: Iterable[ast.stmt], others: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of the problem that these methods use, in the file's order."""
    binding: dict[str, list[ast.stmt]] = {}
    for statement in others:
        for name in _bound(statement):
            binding.setdefault(name, []).append(statement)
    found: set[str] = set()
    kept: list[ast.stmt] = []
    pending: list[ast.stmt] = list(own)
    while pending:
        statement = pending.pop()
        used = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        inside = {name for one in ast.walk(statement) if isinstance(one, ast.stmt) for name in _bound(one)}
        inside |= {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
        inside |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        inside |= {n.id for n in _old_super(statement)}
        for name in sorted(used - inside - _GIVEN - found):
            if name in binding:
                found.add(name)
                more = [one for one in binding[name] if one not in kept]
                kept, pending = kept + more, pending + more
            elif name not in dir(builtins):
                raise NotDerived(f"the constructor of Model uses {name}")
    return [statement for statement in others if statement in kept]


def _old_super(statement: ast.stmt) -> Iterator[ast.Name]:
    """`Model` in super(Model, self)."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
            yield from (n for n in node.args if isinstance(n, ast.Name) and n.id == "Model")


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement of a file gives a value."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name.split(".")[0]) for alias in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    names = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    nested = [n for n in ast.walk(statement) if isinstance(n, ast.stmt) and n is not statement]
    return names.union(*(_bound(n) for n in nested if isinstance(n, ast.Import | ast.ImportFrom | ast.FunctionDef)))
