"""The files that come with a source of the user's own."""

from __future__ import annotations

import re
from pathlib import Path

from tuner.template.shared import read

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def included(source: Path) -> list[Path]:
    """The files beside a source that it includes, directly or not."""
    found: list[Path] = []
    pending = [source]
    while pending:
        for name in _INCLUDE.findall(read(pending.pop())):
            file = source.parent / name
            if "/" not in name and file.is_file() and file not in found:
                found.append(file)
                pending.append(file)
    return found


def whole_text(source: Path) -> str:
    """A source's text and that of what it includes."""
    return "\n".join(read(file) for file in (source, *included(source)))
