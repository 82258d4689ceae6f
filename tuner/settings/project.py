"""Where the user's files lie: the working folder, the project, the cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tuner.errors import ConfigError

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
