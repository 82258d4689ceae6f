"""How host files call the functions of a source, as far as the text of a call says, beside these functions' signatures.

What it does not say (a value's type, how many `*sizes` are) is checked by the candidate when it is called.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.template.shared import file_of
from tuner.template.signatures import Parameter, Signature

_INTEGERS = ("numel", "dim", "size", "stride", "element_size")  # methods of a tensor that return numbers


@dataclass(frozen=True)
class Launch:
    """One `kernel.launch(SYMBOL, ...)`; `symbol` is a pattern, for a host may format it from its knobs."""

    symbol: re.Pattern[str]
    arguments: tuple[ast.expr, ...]
    line: int


def launches(tree: ast.Module) -> list[Launch]:
    """The launches of a host file whose symbol, or a part of it, stands there."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "launch":
            pattern = _pattern(node.args[0]) if node.args else None
            if pattern is not None:
                found.append(Launch(re.compile(pattern), tuple(node.args[1:]), node.lineno))
    return sorted(found, key=lambda launch: launch.line)


def _pattern(symbol: ast.expr) -> str | None:
    if isinstance(symbol, ast.Constant) and isinstance(symbol.value, str):
        return re.escape(symbol.value)
    if isinstance(symbol, ast.JoinedStr):
        return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"\w*" for p in symbol.values)
    return None


def launch_faults(
    launch: Launch, host: Path, known: Mapping[str, Signature], device: str, folder: Path
) -> Iterator[str]:
    """What is wrong with a launch, and with the functions that it may call."""
    for name in filter(launch.symbol.fullmatch, known):
        signature = known[name]
        at = f"{file_of(signature.file, folder)}:{signature.line}"
        if signature.returns not in ("int", "void"):
            yield f"{at}: {name} returns {signature.returns}; a launcher returns int, the error code"
        if device == "cuda" and not signature.takes_stream:
            yield f"{at}: {name} takes no stream: the last parameter of a launcher is void* stream"
        yield from (f"{host}:{launch.line}: {fault}" for fault in _call_faults(launch, signature))


def _call_faults(launch: Launch, signature: Signature) -> Iterator[str]:
    wanted, given = signature.arguments, launch.arguments
    starred = [i for i, argument in enumerate(given) if isinstance(argument, ast.Starred)]
    if (len(given) != len(wanted)) if not starred else (len(given) - len(starred) > len(wanted)):
        least = "at least " if starred else ""
        listed = ", ".join(f"{p.type} {p.name}".strip() for p in wanted)
        count = f"{least}{len(given) - len(starred)}"
        yield f"{signature.name} takes {len(wanted)} arguments ({listed}), not {count}"
        return
    first = given[: starred[0]] if starred else given
    pairs = list(zip(first, wanted, strict=False))
    if starred:  # what follows the last of them stands at the end
        last = given[starred[-1] + 1 :]
        pairs += zip(last, wanted[len(wanted) - len(last) :], strict=True)
    for argument, parameter in pairs:
        if not _may_be(argument, parameter):
            yield f"{signature.name} takes {parameter.type} {parameter.name}, not {ast.unparse(argument)}"


def _may_be(argument: ast.expr, parameter: Parameter) -> bool:
    """Whether an expression may have a value of the parameter's type."""
    if isinstance(argument, ast.IfExp):
        return _may_be(argument.body, parameter) and _may_be(argument.orelse, parameter)
    if isinstance(argument, ast.Constant):
        if argument.value is None:
            return parameter.is_pointer
        fractions = parameter.type in ("float", "double")
        return not parameter.is_pointer and isinstance(argument.value, int | float if fractions else int)
    if isinstance(argument, ast.Call):
        function = argument.func
        if isinstance(function, ast.Name) and function.id in ("aligned", "int", "float", "len", "bool"):
            return parameter.is_pointer == (function.id == "aligned")
        if isinstance(function, ast.Attribute) and function.attr in _INTEGERS:
            return not parameter.is_pointer
    if isinstance(argument, ast.Subscript) and isinstance(argument.value, ast.Attribute):
        return not (argument.value.attr in ("shape", "stride") and parameter.is_pointer)
    return True
