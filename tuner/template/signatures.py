"""C signatures, read from a source's text: how each `extern "C"` function wants to be called.

Comments, attributes, default arguments and names of types given by `typedef`, `using` or `#define` are seen through;
nothing is preprocessed. A function whose parameters cannot be told (it is declared in two ways, or takes a struct by
value) has no signature, and is called by the types of what it is given; `unknown*` is a pointer to what cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SCALARS = {
    "bool", "char", "signed char", "unsigned char", "short", "unsigned short", "int", "unsigned int", "long",
    "unsigned long", "long long", "unsigned long long", "float", "double",
}  # fmt: skip
_OTHER_NAMES = {
    "unsigned": "unsigned int", "signed": "int", "size_t": "unsigned long", "ptrdiff_t": "long", "ssize_t": "long",
    "int8_t": "signed char", "uint8_t": "unsigned char", "int16_t": "short", "uint16_t": "unsigned short",
    "int32_t": "int", "uint32_t": "unsigned int", "int64_t": "long long", "uint64_t": "unsigned long long",
    "intptr_t": "long", "uintptr_t": "unsigned long", "cudaError_t": "int", "CUresult": "int",
    "cudaStream_t": "void*", "CUstream": "void*", "__half": "half", "_Float16": "half",
    "__nv_bfloat16": "bfloat16", "nv_bfloat16": "bfloat16", "__bf16": "bfloat16",
}  # fmt: skip
_ELEMENTS = {"half", "bfloat16"}  # the shortest names of these, whatever a source defines them by
_WORDS_OF_SCALARS = {"unsigned", "signed", "long", "short", "int", "char", "float", "double", "bool"}
_QUALIFIERS = r"\b(?:const|volatile|struct|register|restrict|__restrict__|__restrict|static|inline|extern|constexpr)\b"
_COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL)
_ATTRIBUTE = re.compile(
    r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)|\[\[[^\]]*\]\]|__declspec\s*\([^)]*\)|\bnoexcept\b"
)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:[ \t]+(.*?))?[ \t]*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_ALIAS = re.compile(r"\busing\s+(\w+)\s*=\s*([\w\s:*]+);|\btypedef\s+([\w\s:*]+?)\b(\w+)\s*;")
_LINE = re.compile(r'^#line (\d+) "(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Parameter:
    """`type` is in its shortest form, without qualifiers: `float*`, `long long`, `void*`."""

    type: str
    name: str = ""

    @property
    def is_pointer(self) -> bool:
        return self.type.endswith("*")


@dataclass(frozen=True)
class Signature:
    """A function that a source exports; `file` and `line` say where, as `#line` directives have it."""

    name: str
    returns: str
    parameters: tuple[Parameter, ...]
    file: str = ""
    line: int = 0

    @property
    def takes_stream(self) -> bool:
        """Whether the last parameter is one: a `cudaStream_t` or the `void*` that stands for it."""
        return bool(self.parameters) and self.parameters[-1].type == "void*"

    @property
    def arguments(self) -> tuple[Parameter, ...]:
        """The parameters that a call of `Kernel.launch` gives: all but the stream."""
        return self.parameters[:-1] if self.takes_stream else self.parameters

    def __str__(self) -> str:
        names = [p.name or f"_{i}" for i, p in enumerate(self.parameters)]
        if self.takes_stream:
            names[-1] = "stream"
        return f"{self.returns}({', '.join(f'{p.type} {n}' for p, n in zip(self.parameters, names, strict=True))})"


def signatures(text: str) -> dict[str, Signature]:
    """The functions that `text`, a source with its includes inlined, exports, by name."""
    code = without_comments(text).replace("\\\n", "  ")
    aliases = _aliases(code)
    exporting = [name for name, body in aliases.items() if body and re.search(r'extern\s*"C"', body)]
    blank = _DIRECTIVE.sub(lambda match: " " * len(match[0]), code)
    for name in exporting:
        blank = (aliases[name] or "").join(re.split(rf"\b{name}\b", blank))
    found: dict[str, list[Signature | None]] = {}
    for position, declaration in _exported(blank):
        name, signature = _signature(declaration, aliases)
        if name:
            if signature is not None and not exporting:  # replaced text has moved what follows
                file, line = place(code, position)
                signature = Signature(name, signature.returns, signature.parameters, file, line)
            found.setdefault(name, []).append(signature)
    told = {name: {str(each) for each in several} for name, several in found.items()}
    return {name: each[0] for name, each in found.items() if len(told[name]) == 1 and each[0] is not None}


def without_comments(text: str) -> str:
    """C++ text with its comments blank; every line stays where it is."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])

    return _COMMENT_OR_TEXT.sub(blank, text)


def place(text: str, position: int) -> tuple[str, int]:
    """File and line of a position in text with `#line` directives; without one, "" and the text's own line."""
    before = list(_LINE.finditer(text, 0, position))
    if not before:
        return "", text.count("\n", 0, position) + 1
    last = before[-1]
    return last[2], int(last[1]) + text.count("\n", last.end() + 1, position)


def _aliases(code: str) -> dict[str, str | None]:
    """Other names of types: what each stands for, None where that depends."""
    found: dict[str, set[str]] = {}
    for match in _DEFINE.finditer(code):
        name, body = match[1], (match[2] or "").strip()
        line_before = code[: match.start()].rstrip("\n").rpartition("\n")[2]
        is_default = re.fullmatch(rf"[ \t]*#[ \t]*ifndef[ \t]+{name}[ \t]*", line_before) is not None
        if not (is_default and name in found):
            found.setdefault(name, set()).add(body)
    for match in _ALIAS.finditer(code):
        found.setdefault(match[1] or match[4], set()).add((match[2] or match[3]).strip())
    told = {name: next(iter(bodies)) if len(bodies) == 1 else None for name, bodies in found.items()}
    return {name: body for name, body in told.items() if name not in _ELEMENTS}


def _exported(code: str) -> Iterator[tuple[int, str]]:
    """Where each declaration with C linkage begins, and its text up to its body or semicolon."""
    for match in re.finditer(r'\bextern\s*"C"\s*', code):
        if not code.startswith("{", match.end()):
            yield match.start(), code[match.end() : _end_of_declaration(code, match.end())]
            continue
        start, end = match.end() + 1, _closing(code, match.end())
        while start < end:
            stop = _end_of_declaration(code, start)
            if stop >= end:
                break
            begin = start + len(code[start:stop]) - len(code[start:stop].lstrip())
            yield begin, code[start:stop]
            start = _closing(code, stop) + 1 if code[stop] == "{" else stop + 1


def _end_of_declaration(code: str, start: int) -> int:
    match = re.compile(r"[{;]").search(code, start)
    return match.start() if match else len(code)


def _closing(code: str, brace: int) -> int:
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, brace):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


def _signature(declaration: str, aliases: dict[str, str | None]) -> tuple[str, Signature | None]:
    """Name and signature; "" for what is no function that the host calls, None for types that cannot be told."""
    text = _ATTRIBUTE.sub(" ", declaration)
    head, parenthesis, rest = text.partition("(")
    match = re.fullmatch(r"(.*?)([A-Za-z_]\w*)\s*", head, re.DOTALL)
    if not parenthesis or match is None or not match[1].strip() or re.search(r"__(global|device)__", head):
        return "", None
    inside, _, behind = rest.rpartition(")")
    arrow = re.match(r"\s*->\s*(.+)", behind, re.DOTALL)
    returns = _type(arrow[1] if arrow else match[1], aliases)
    parts = [] if inside.strip() in ("", "void") else _split(inside)
    parameters = [_parameter(part, aliases) for part in parts]
    if returns is None or any(parameter is None for parameter in parameters):
        return match[2], None
    return match[2], Signature(match[2], returns, tuple(p for p in parameters if p is not None))


def _split(text: str) -> list[str]:
    """Parts between commas that lie in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "(<[{") - (character in ")>]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _parameter(text: str, aliases: dict[str, str | None]) -> Parameter | None:
    text = text.partition("=")[0].strip()
    array = re.fullmatch(r"(.*?)\[[^\]]*\]", text, re.DOTALL)
    if array:
        text = re.sub(r"(\w+)\s*$", r"* \1", array[1])
    before, star, name = text.rpartition("*")
    name = re.sub(_QUALIFIERS, "", name).strip()
    if not star:
        words = re.sub(_QUALIFIERS, " ", text).split()
        has_name = len(words) > 1 and words[-1] not in _WORDS_OF_SCALARS
        before, name = (" ".join(words[:-1]), words[-1]) if has_name else (" ".join(words), "")
    kind = _type(before + star, aliases)
    return None if kind is None or not re.fullmatch(r"\w*", name) else Parameter(kind, name)


def _type(text: str, aliases: dict[str, str | None]) -> str | None:
    """The shortest form of a type that a call can be checked against, None for any other by value."""
    for _ in range(8):  # aliases of aliases
        text = re.sub(_QUALIFIERS, " ", text)
        text = re.sub(r"\b(?:std|c10|at)::", "", text)
        named = [word for word in re.findall(r"\w+", text) if word in aliases or word in _OTHER_NAMES]
        if not named or text.strip() in SCALARS:
            break
        if any(aliases.get(word, "") is None for word in named):
            return None if "*" not in text else "unknown" + "*" * text.count("*")
        text = re.sub(r"\w+", lambda match: str(aliases.get(match[0]) or _OTHER_NAMES.get(match[0], match[0])), text)
    stars, base = "*" * text.count("*"), " ".join(text.replace("*", " ").split())
    words = base.split()
    if words and set(words) <= _WORDS_OF_SCALARS:
        base = _scalar(words)
    if stars or base in SCALARS or base == "void":
        return re.sub(r"\s+", " ", base) + stars if re.fullmatch(r"[\w ]+", base) else f"unknown{stars}"
    return None


def _scalar(words: list[str]) -> str:
    """`long unsigned int` as `unsigned long`."""
    sign = "unsigned " if "unsigned" in words else "signed " if words.count("signed") and "char" in words else ""
    longs = words.count("long")
    if "double" in words or "float" in words or "bool" in words:
        return next(word for word in words if word in ("double", "float", "bool"))
    if "char" in words or "short" in words:
        return sign + ("char" if "char" in words else "short")
    return sign + ("long long" if longs == 2 else "long" if longs else "int")
