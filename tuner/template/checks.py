"""What must agree between a template's files, found before anything is compiled.

A knob without effect would be measured again at each of its choices; a launcher or host function that is missing, or
one that is called otherwise than it is declared, would fail every trial in somebody else's words.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tuner.errors import TemplateError
from tuner.template.calls import launch_faults, launches
from tuner.template.hosts import host_files, parsed
from tuner.template.model_new import model_new
from tuner.template.shared import file_of, inline_includes, read
from tuner.template.signatures import place, signatures, without_comments
from tuner.template.variant import Variant

_TYPES = "int|unsigned|long|bool|float|double|auto|class|typename"
_GUARD = r"^[ \t]*#[ \t]*(?:ifndef|ifdef|define|undef)[ \t]+{}\b.*$"


def faults(folder: Path, variants: tuple[Variant, ...]) -> Iterator[str]:
    """Whatever a file of the folder lacks of what another needs of it, with file and, where there is one, line."""
    found: dict[str, None] = {}  # variants share files
    if (folder / "problem.py").is_file():
        found |= dict.fromkeys(_told(_model_new_faults(folder)))
    else:
        found[f"{folder / 'template.py'}: problem.py is not a file of {folder}"] = None
    for variant in variants:
        if not (folder / variant.source).is_file():
            found[f"{folder / 'template.py'}: {variant.source} is not a file of {folder}"] = None
        else:
            found |= dict.fromkeys(_told(_variant_faults(folder, variant)))
    yield from found


def _told(found: Iterator[str]) -> Iterator[str]:
    """What a check finds, up to a file that cannot be read."""
    try:
        yield from found
    except TemplateError as fault:
        yield str(fault)


def _model_new_faults(folder: Path) -> Iterator[str]:
    path = folder / "model_new.py"
    if not path.is_file():
        model_new(folder)  # which is derived
    elif "ModelNew" not in _definitions(parsed(path), ast.ClassDef):
        yield f"{path}: defines no class ModelNew"


def _variant_faults(folder: Path, variant: Variant) -> Iterator[str]:
    source = folder / variant.source
    *shared, host = host_files(folder, [variant.host])
    whole = inline_includes(source)
    text = without_comments(whole)
    if not re.search(r'extern\s*"C"', text):
        yield f'{source}: exports nothing; a launcher is declared extern "C" int NAME(...)'
        return
    others = [*shared, folder / "model_new.py"]
    yield from _host_faults(folder, variant, host, others, text)
    yield from _knob_faults(folder, variant, text, [host, *others])


def _host_faults(folder: Path, variant: Variant, host: Path, others: list[Path], text: str) -> Iterator[str]:
    tree, source, known = parsed(host), folder / variant.source, signatures(text)
    defined = _definitions(tree, ast.FunctionDef)
    if variant.host not in defined:
        found = f"; it defines {', '.join(defined)}" if defined else ""
        yield f"{host}: has no function {variant.host}(model, kernel, ...){found}"
    words = set(re.findall(r"\w+", text))
    for launch in launches(tree):
        if not any(map(launch.symbol.fullmatch, words)):
            symbol = launch.symbol.pattern.replace(r"\w*", "*")
            yield f'{source}: has no extern "C" int {symbol}(...), which {host.name}:{launch.line} launches'
        yield from launch_faults(launch, host, known, variant.device, folder)
    for path in others:
        if path.is_file():  # what it launches, it launches for the variants that have it
            for launch in launches(parsed(path)):
                yield from launch_faults(launch, path, known, variant.device, folder)


def _knob_faults(folder: Path, variant: Variant, text: str, hosts: list[Path]) -> Iterator[str]:
    python, source = "".join(read(path) for path in hosts if path.is_file()), folder / variant.source
    for knob in variant.knobs:
        macro = knob.name.upper()
        # Whether a knob is defined says nothing: every point defines it.
        guards = re.compile(_GUARD.format(macro), re.MULTILINE)
        used = re.sub(r"^#line .*$", "", guards.sub("", text), flags=re.MULTILINE)
        if not re.search(rf"\b{macro}\b", used) and not re.search(rf"[\"']{knob.name}[\"']", python):
            guard = guards.search(text)
            at = source if guard is None else "{}:{}".format(*_place(text, guard.start(), folder))
            yield (
                f"{at}: knob {knob.name} of variant {variant.name} does nothing: "
                f"{macro} is not used here beyond its own #ifndef, nor {knob.name!r} in "
                f"{' or '.join(path.name for path in hosts)}"
            )
        declared = re.search(rf"\b(?:{_TYPES})\s+{macro}\b", text)
        if declared:
            at = "{}:{}".format(*_place(text, declared.start(), folder))
            yield f"{at}: {macro} is declared here, and is the macro of knob {knob.name}; rename one of them"


def _place(text: str, position: int, folder: Path) -> tuple[Path, int]:
    name, line = place(text, position)
    return file_of(name, folder), line


def _definitions(tree: ast.Module, kind: type[ast.FunctionDef] | type[ast.ClassDef]) -> list[str]:
    return [node.name for node in tree.body if isinstance(node, kind)]
