"""`new_template` writes the files of a new template's folder."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from tuner.backends import toolchain
from tuner.drafting import drafts
from tuner.drafting.drafts import Drafted
from tuner.errors import ConfigError, TemplateError
from tuner.problem import static
from tuner.records import Floating
from tuner.scaffold.includes import included, whole_text
from tuner.scaffold.source import host_text, launcher, problem_text, template_text
from tuner.template.shared import read

EXAMPLE = Path(__file__).with_name("example")


def new_template(folder: Path, source: Path | None = None, problem: Path | None = None) -> list[Path]:
    """Make a template's folder and return its files.

    With neither, a commented example. With a problem, a draft of it. With a source as well, a template around that: its
    `extern "C"` function is the launcher, its `#ifndef` defaults are the knobs. With a source alone, the forward of its
    problem is still to be written, for nothing says what is right. Raises ConfigError, ProblemError and TemplateError.
    """
    if source is None and problem is not None:
        new_draft(folder, problem)
        return sorted(folder.iterdir())
    _require_free(folder)
    if source is None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(EXAMPLE.iterdir()):
            if file.suffix in (".py", ".cu", ".cpp"):
                shutil.copy(file, folder)
        return sorted(folder.iterdir())
    if problem is not None:
        _require_problem(problem)
    with tempfile.TemporaryDirectory() as made:
        texts = _texts(folder.name.lower(), source, problem or _problem_of(source, Path(made)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


def new_draft(folder: Path, problem: Path, dtype: Floating | None = None) -> Drafted:
    """Draft a template for a problem, cast to `dtype` where one is given, into `folder`.

    Raises ConfigError, ProblemError and TemplateError.
    """
    _require_free(folder)
    _require_problem(problem)
    return drafts.write(problem, folder, toolchain.environment(), dtype)


def _require_free(folder: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_]+", folder.name):
        raise ConfigError(f"{folder}: a template folder's name has letters, digits and _ alone")
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already")


def _require_problem(problem: Path) -> None:
    if not problem.is_file():
        raise ConfigError(f"{problem}: no such file")
    for fault in static.faults(problem):
        raise ConfigError(fault)


def _problem_of(source: Path, folder: Path) -> Path:
    """The file of a problem for a source that comes alone."""
    _require_source(source)
    text = whole_text(source)
    made = folder / "problem.py"
    made.write_text(problem_text(launcher(text, source), text), encoding="utf-8")
    return made


def _require_source(source: Path) -> None:
    if not source.is_file():
        raise ConfigError(f"{source}: no such file")
    if source.suffix not in (".cu", ".cpp"):
        raise ConfigError(f"{source}: a source is a .cu or a .cpp file")


def _texts(name: str, source: Path, problem: Path) -> dict[str, str]:
    """The files of a template around a source. Raises ConfigError, TemplateError."""
    _require_source(source)
    name = name if name.isidentifier() else f"kernel_{name}"
    text, file = whole_text(source), source.name
    if file in ("problem.py", "template.py"):
        raise TemplateError(f"{file}: is the name of another part")
    function = launcher(text, source)
    return {
        "problem.py": read(problem),
        "template.py": template_text(name, file, text, function),
        f"{name}.py": host_text(name, function, text, problem),
        **{each.name: read(each) for each in (source, *included(source))},
    }
