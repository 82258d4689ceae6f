"""What template folders share: the shipped ones' place, and the files of `include/`.

`include/` beside a template's folder comes first, the shipped `kernel_templates/include/` second. Sources name its
files by their path there (`#include "core/reduce.cuh"`); Python, host functions and modules of template.py, is found
in it and in its folders by name alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import TemplateError


def shipped_folder() -> Path:
    """`kernel_templates/` of the checkout, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "shipped" / "kernel_templates"
    return inside if inside.is_dir() else package.parent / "kernel_templates"


def shipped_names() -> list[str]:
    return sorted(p.parent.name for p in shipped_folder().glob("*/template.py"))


def include_folders(folder: Path) -> list[Path]:
    """Where a template folder's sources find what they include, apart from their own folder."""
    return [folder.parent / "include", shipped_folder() / "include"]


def python_folders(folder: Path) -> list[Path]:
    """Where a template folder finds Python that it shares."""
    return [
        place
        for include in include_folders(folder)
        for place in (include, *sorted(path for path in include.glob("*") if path.is_dir()))
    ]


def host_file(folder: Path, host: str) -> Path:
    """The file of a host function. Raises TemplateError when there is none."""
    for place in (folder, *python_folders(folder)):
        if (place / f"{host}.py").is_file():
            return place / f"{host}.py"
    raise TemplateError(f"{folder}: {host}.py is neither a file of it nor in include/")


def read(path: Path) -> str:
    """The text of a template's file. Raises TemplateError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from None


_LOADING = threading.RLock()  # the search path is the process's


@contextlib.contextmanager
def shared_modules(folder: Path) -> Iterator[None]:
    """Let a template.py import the Python files of include/.

    They are read anew for each template and then forgotten: other trees may have modules of the same names.
    """
    places = python_folders(folder)
    names = {path.stem for place in places for path in place.glob("*.py")}
    with _LOADING:
        search_path, others = sys.path[:], {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
        sys.path[:0] = map(str, places)
        importlib.invalidate_caches()  # a folder may have come, or got a file, since it was last looked at
        try:
            yield
        finally:
            sys.path[:] = search_path
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(others)


_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"[ \t]*(?://.*)?\n', re.MULTILINE)


def inline_includes(source: Path) -> str:
    """The text of `source` with each `#include "..."` replaced, once, by that file's text.

    Looked up beside the including file, then in include/. `#line` directives name the file that each piece is of, so
    that a compiler's errors do. Raises TemplateError when an include is in neither.
    """
    source = source.absolute()
    return _inlined(source, source.parent, include_folders(source.parent), set())


def name_in_text(path: Path, folder: Path) -> str:
    """What `#line` calls a file of the template in `folder`: the same wherever the folders lie."""
    shipped = shipped_folder().resolve()
    if path.resolve().is_relative_to(shipped):
        return f"{shipped.name}/{path.resolve().relative_to(shipped).as_posix()}"
    return Path(os.path.relpath(path, folder.parent)).as_posix()


def file_of(name: str, folder: Path) -> Path:
    """The file that `name_in_text` calls so."""
    own = folder.parent / name
    return own if own.is_file() else shipped_folder().parent / name


def _inlined(path: Path, folder: Path, includes: list[Path], seen: set[Path]) -> str:
    text, name = read(path), name_in_text(path, folder)
    if not text.endswith("\n"):
        text += "\n"

    def replace(match: re.Match[str]) -> str:
        target = next((found for place in (path.parent, *includes) if (found := place / match[1]).is_file()), None)
        line = text.count("\n", 0, match.start()) + 1
        if target is None:
            raise TemplateError(f"{path}:{line}: #include {match[1]!r}: no such file beside it or in include/")
        target = target.resolve()
        if target in seen:
            return "\n"
        seen.add(target)
        return f'{_inlined(target, folder, includes, seen)}#line {line + 1} "{name}"\n'

    return f'#line 1 "{name}"\n' + _INCLUDE.sub(replace, text).replace("#pragma once\n", "\n")
