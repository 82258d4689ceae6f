"""C++ text: functions, structs and lines of a bearable width."""

from __future__ import annotations

import re
from collections.abc import Sequence

WIDTH = 120


def fields_of(name: str, fields: list[tuple[str, str]]) -> list[str]:
    """A struct within a struct, members of one type together."""
    parts = [
        f"{kind} {', '.join(name for one, name in fields if one == kind)};"
        for kind in dict.fromkeys(kind for kind, _ in fields)
    ]
    line = f"  struct {name} {{{' ' + ' '.join(parts) + ' ' if parts else ''}}};"
    if len(line) <= WIDTH:
        return [line]
    return [f"  struct {name} {{", *(one for part in parts for one in wrapped(f"    {part}")), "  };"]


def braced(head: str, lines: Sequence[str], end: str) -> str:
    """A member function; parameters that it does not use lose their names."""
    inside = [*lines, end] if end else list(lines)
    words = set(re.findall(r"\w+", " ".join(inside)))
    for name in ("row", "i", "in", "item", "found", "r", "pooled", "running", "at"):
        if name not in words:
            head = re.sub(rf"\b{name}\b(?=[,)\[])", "", head).replace(" ,", ",").replace(" )", ")")
    head = f"TUNER_INLINE {head}"
    if not inside:
        return f"{head} {{}}"
    if len(inside) == 1 and len(head) + len(inside[0]) + 8 <= WIDTH:
        return f"{head} {{ {inside[0]} }}"
    return "\n".join([f"{head} {{", *(one for line in inside for one in wrapped(f"  {line}", WIDTH - 2)), "}"])


def wrapped(line: str, width: int = WIDTH) -> list[str]:
    """A statement in lines of at most `width`, broken at spaces, the rest indented by four."""
    indent = " " * (len(line) - len(line.lstrip()))
    lines = []
    while len(line) > width:
        at = line.rfind(" ", len(indent) + 8, width)
        if at < 0:
            break
        lines.append(line[:at])
        line = f"{indent}    {line[at + 1 :]}"
    return [*lines, line]


def indented(text: str) -> list[str]:
    return [f"  {line}" if line else "" for line in text.splitlines()]


def listed(head: str, parts: Sequence[str], end: str, width: int = WIDTH) -> list[str]:
    """head, parts and end in lines of at most `width`, continued under the parenthesis."""
    lines, line = [], head
    for k, part in enumerate(parts):
        text = part + (end if k == len(parts) - 1 else ", ")
        if len(line) + len(text.rstrip()) > width and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += text
    return [*lines, line]
