"""Where the user's files lie: the working folder, the project, the cache."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

from tuner import template
from tuner.errors import ConfigError
from tuner.template import shipped_folder, shipped_names

TEMPLATE_FOLDERS = ("kernel_templates", "kernels")
MARKS = ("pyproject.toml", ".git", "kernel_templates")


def working_folder() -> Path:
    """The folder that the command was started in. Raises ConfigError where it was deleted since."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the working folder is not there any more; change to one that is") from None


def project_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` with a pyproject.toml, .git or kernel_templates/.

    What an installed wheel carries is nobody's project. Raises ConfigError like `working_folder`.
    """
    start = _absolute(start).resolve()
    if start.is_relative_to(Path(__file__).resolve().parent.parent):
        return None
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in MARKS):
            return folder
    return None


def cache_root(start: Path, template: str = "") -> Path:
    """Where winners go: $TUNER_CACHE_DIR, else cache/ of the project around `start`, else the user's cache.

    There, a `template` that is a path has a cache of its own, for another project may have one of
    the same name. Raises ConfigError where no user's cache can be named.
    """
    if os.environ.get("TUNER_CACHE_DIR"):
        return _absolute(Path(os.environ["TUNER_CACHE_DIR"]))
    root = project_root(start)
    if root is not None:
        return root / "cache"
    shared = _user_folder() / "cache"
    if "/" not in template and not template.startswith("."):
        return shared
    folder = _absolute(Path(template)).resolve()
    return _of_own_templates(shared) / f"{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"


def cache_roots(start: Path) -> list[Path]:
    """Every cache that `cache_root` may name for `start`, whatever the template."""
    root = cache_root(start)
    if os.environ.get("TUNER_CACHE_DIR") or project_root(start) is not None:
        return [root]
    own = _of_own_templates(root)
    return [root, *sorted(own.iterdir())] if own.is_dir() else [root]


def template_folders(start: Path) -> dict[str, Path]:
    """Every template that is known by name alone: the project's around `start`, the shipped ones, those from Python.

    A project's lie in the folders that `[tool.tuner]` of its pyproject.toml names (`templates = ["kernels"]`), by
    default kernel_templates/ and kernels/; outside a project, in these folders of `start`. Raises ConfigError where the
    file cannot be read.
    """
    root = project_root(start)
    found = (
        _templates_in(python_templates(start))
        | _templates_in(drafts_folder(start))
        | {name: shipped_folder() / name for name in shipped_names()}
    )
    for place in _places(_absolute(start) if root is None else root):
        found |= _templates_in(place)
    return found


def python_templates(start: Path) -> Path:
    """Where the templates that `tuner.kernel` makes lie, in the cache."""
    return cache_root(start) / ".kernels"


def drafts_folder(start: Path) -> Path:
    """Where the drafts of problem files lie, in the cache."""
    return cache_root(start) / ".drafts"


def _templates_in(place: Path) -> dict[str, Path]:
    return {file.parent.name: file.parent for file in sorted(place.glob("*/template.py"))}


def folder_of(name: str, start: Path) -> Path:
    """The folder of a template: a path (it holds a `/`), or a name that is known. Raises ConfigError for another."""
    if "/" in name or name.startswith("."):
        return template.folder_of(name, start)
    known = template_folders(start)
    if name in known:
        return known[name]
    try:
        return template.folder_of(name, start)
    except ConfigError:
        if not name.isidentifier():
            raise
        raise ConfigError(f"template: {name!r} is not one of {', '.join(sorted(known))}") from None


def _places(root: Path) -> list[Path]:
    file = root / "pyproject.toml"
    try:
        own = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("tuner", {})
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        own = {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    names = own.get("templates", TEMPLATE_FOLDERS) if isinstance(own, dict) else None
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{file}: tool.tuner.templates wants a list of folders such as ["kernels"]')
    return [root / name for name in names]


def _absolute(path: Path) -> Path:
    return path if path.is_absolute() else working_folder() / path


def _of_own_templates(shared: Path) -> Path:
    return shared.with_name("cache-of-templates")


def _user_folder() -> Path:
    # The XDG specification: a relative value is to be ignored.
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "tuner"
    except RuntimeError:
        raise ConfigError("no home folder is known for this user: set HOME, or TUNER_CACHE_DIR") from None
