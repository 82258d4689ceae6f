"""Host files, and what they import of their folder and of include/.

`from split_product import split_product` in a host file, or in a file that it imports, names a file of include/ as
template.py's imports do, by name alone. A candidate carries the text of that file ahead of the host's and the import
not at all; any other import serves editors only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tuner.errors import TemplateError
from tuner.template.shared import host_file, python_folders, read


def host_files(folder: Path, hosts: Iterable[str]) -> list[Path]:
    """The files of these host functions, each once and each after those that it imports.

    Raises TemplateError where one is not there, and for imports that a candidate cannot carry.
    """
    found: dict[Path, None] = {}
    for host in hosts:
        _add(host_file(folder, host), folder, found, ())
    return list(found)


def _add(path: Path, folder: Path, found: dict[Path, None], within: tuple[Path, ...]) -> None:
    if path in within:
        circle = " imports ".join(each.name for each in (*within[within.index(path) :], path))
        raise TemplateError(f"{path}: {circle}")
    if path in found:
        return
    for _, imported in _imports(path, folder):
        _add(imported, folder, found, (*within, path))
    found[path] = None


def returns_several(folder: Path, host: str) -> bool:
    """Whether a host function, or the forward that it stands for, returns a tuple or a list that is written as one."""
    functions = [n for n in parsed(host_file(folder, host)).body if isinstance(n, ast.FunctionDef) and n.name == host]
    models = [n for n in parsed(folder / "problem.py").body if isinstance(n, ast.ClassDef) and n.name == "Model"]
    functions += [n for m in models for n in m.body if isinstance(n, ast.FunctionDef) and n.name == "forward"]
    return any(isinstance(node.value, ast.Tuple | ast.List) for one in functions for node in _returns(one))


def _returns(inside: ast.AST) -> Iterator[ast.Return]:
    """The return statements of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(inside):
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield from _returns(node)


def body(path: Path, folder: Path) -> str:
    """What a candidate carries of a host file: its definitions, without the imports of such files."""
    lines = read(path).splitlines(keepends=True)
    for node, _ in _imports(path, folder):
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
            lines[line - 1] = ""
    return definitions("".join(lines), path)


def definitions(text: str, path: Path) -> str:
    """A Python file from its first function, class or constant on; what comes before serves editors only."""
    start = re.search(r"^(?:def|class|@|[A-Z_]+ =)", text, re.MULTILINE)
    if start is None:
        raise TemplateError(f"{path}: defines nothing")
    return text[start.start() :]


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file. Raises TemplateError with the line of what is none."""
    try:
        return ast.parse(read(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise TemplateError(
            f"{path}{f':{line}' if line else ''}: {error.__class__.__name__}: {getattr(error, 'msg', error)}"
        ) from None


def _imports(path: Path, folder: Path) -> Iterator[tuple[ast.ImportFrom, Path]]:
    """The imports of a host file whose text a candidate carries, with the files that they name."""
    places = (folder, *python_folders(folder))

    def shared(module: str) -> Path | None:
        return next((file for place in places if (file := place / f"{module}.py").is_file()), None)

    tree = parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if shared(alias.name) is not None:
                    raise TemplateError(
                        f"{path}:{node.lineno}: import {alias.name}: "
                        f"a candidate has its names alone; write from {alias.name} import NAME"
                    )
        if not isinstance(node, ast.ImportFrom) or node.level or node.module is None:
            continue
        file = shared(node.module)
        if file is None:
            continue
        if node not in tree.body:
            raise TemplateError(f"{path}:{node.lineno}: from {node.module} import stands at the top of the file")
        defined = _names(parsed(file))
        for alias in node.names:
            if alias.asname is not None or alias.name == "*":
                raise TemplateError(
                    f"{path}:{node.lineno}: from {node.module} import takes names as they are, one by one"
                )
            if alias.name not in defined:
                raise TemplateError(f"{path}:{node.lineno}: {file.name} defines no {alias.name}")
        yield node, file


def _names(tree: ast.Module) -> set[str]:
    """What a module defines itself, at its top."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found
