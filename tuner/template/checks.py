"""What must agree between a template's files, found before anything is compiled.

A knob without effect would be measured again at each of its choices; a launcher or host function that is missing
would fail every trial in the compiler's or the interpreter's words.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tuner.errors import TemplateError
from tuner.template.shared import host_file, inline_includes, read
from tuner.template.variant import Variant

_TYPES = "int|unsigned|long|bool|float|double|auto|class|typename"
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def check_files(folder: Path, variants: tuple[Variant, ...]) -> None:
    """Raise TemplateError where a file of the folder lacks what another needs of it."""
    for name in ("problem.py", "model_new.py", *(variant.source for variant in variants)):
        if not (folder / name).is_file():
            raise TemplateError(f"{folder / 'template.py'}: {name} is not a file of {folder}")
    model_new = folder / "model_new.py"
    if "ModelNew" not in _definitions(_parsed(model_new), ast.ClassDef):
        raise TemplateError(f"{model_new}: defines no class ModelNew")
    for variant in variants:
        source, host = folder / variant.source, host_file(folder, variant.host)
        text = _COMMENT.sub(" ", inline_includes(source))
        if not re.search(r'extern\s*"C"', text):
            raise TemplateError(f'{source}: exports nothing; a launcher is declared extern "C" int NAME(...)')
        _check_host(variant, host, source, text)
        _check_knobs(variant, source, text, [host, model_new])


def _check_host(variant: Variant, host: Path, source: Path, text: str) -> None:
    tree = _parsed(host)
    defined = _definitions(tree, ast.FunctionDef)
    if variant.host not in defined:
        found = f"; it defines {', '.join(defined)}" if defined else ""
        raise TemplateError(f"{host}: has no function {variant.host}(model, kernel, ...){found}")
    for symbol in _launched(tree):
        if not re.search(rf"\b{re.escape(symbol)}\b", text):
            raise TemplateError(f'{source}: has no extern "C" int {symbol}(...), which {host.name} launches')


def _check_knobs(variant: Variant, source: Path, text: str, hosts: list[Path]) -> None:
    python = "".join(map(read, hosts))
    for knob in variant.knobs:
        macro = knob.name.upper()
        # Whether a knob is defined says nothing: every point defines it.
        used = re.sub(rf"^[ \t]*#[ \t]*(ifndef|ifdef|define|undef)[ \t]+{macro}\b.*$", "", text, flags=re.MULTILINE)
        if not re.search(rf"\b{macro}\b", used) and not re.search(rf"[\"']{knob.name}[\"']", python):
            raise TemplateError(
                f"{source}: knob {knob.name} of variant {variant.name} does nothing: "
                f"{macro} is not used here beyond its own #ifndef, nor {knob.name!r} in "
                f"{' or '.join(path.name for path in hosts)}"
            )
        if re.search(rf"\b(?:{_TYPES})\s+{macro}\b", used):
            raise TemplateError(
                f"{source}: {macro} is declared here or in what it includes, and is the macro of knob {knob.name}; "
                "rename one of them"
            )


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(read(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise TemplateError(f"{path}{f':{line}' if line else ''}: {error.__class__.__name__}: {error}") from None


def _definitions(tree: ast.Module, kind: type[ast.FunctionDef] | type[ast.ClassDef]) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, kind)]


def _launched(tree: ast.Module) -> list[str]:
    """The symbols that a host file launches under a literal name."""
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "launch"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]
