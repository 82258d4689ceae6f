"""`new_template` writes the files of a new template's folder."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tuner.errors import ConfigError, TemplateError
from tuner.problem import static
from tuner.scaffold.source import host_text, knobs, launcher, skeleton_text, template_text
from tuner.template.shared import read

EXAMPLE = Path(__file__).with_name("example")


def new_template(folder: Path, source: Path | None = None, problem: Path | None = None) -> list[Path]:
    """Make a template's folder and return its files.

    With neither, a commented example. With a problem, a template for it, whose source is still to be written. With a
    source as well, a template around that: its `extern "C"` function is the launcher, its `#ifndef` defaults are the
    knobs. Raises ConfigError and TemplateError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", folder.name):
        raise ConfigError(f"{folder}: a template folder's name has letters, digits and _ alone")
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already")
    if source is not None and problem is None:
        raise ConfigError(f"{source}: says how, not what: name the reference that it computes, --problem FILE.py")
    if problem is None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(EXAMPLE.iterdir()):
            if file.suffix in (".py", ".cu", ".cpp"):
                shutil.copy(file, folder)
        return sorted(folder.iterdir())
    texts = _texts(folder.name.lower(), source, problem)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


def _texts(name: str, source: Path | None, problem: Path) -> dict[str, str]:
    """The files of a template for a problem. Raises ConfigError, TemplateError."""
    for given in (problem, source):
        if given is not None and not given.is_file():
            raise ConfigError(f"{given}: no such file")
    faults = static.faults(problem)
    if faults:
        raise ConfigError(faults[0])
    name = name if name.isidentifier() else f"kernel_{name}"
    if source is not None and source.suffix not in (".cu", ".cpp"):
        raise ConfigError(f"{source}: a source is a .cu or a .cpp file")
    text = read(source) if source is not None else skeleton_text(problem, name)
    file = source.name if source is not None else f"{name}.cpp"
    if file in ("problem.py", "template.py"):
        raise TemplateError(f"{file}: is the name of another part")
    function = launcher(text, source or Path(file))
    return {
        "problem.py": read(problem),
        "template.py": template_text(name, file, knobs(text, file)),
        f"{name}.py": host_text(name, function, text, problem),
        file: text,
    }
