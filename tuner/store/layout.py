"""Where entries lie: <root>/<device>/<template>/<workload>/{model_new.py, record.json}.

Symbolic links below a cache's root are not followed: what they lead to is not the cache's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tuner.errors import CacheError
from tuner.template import shipped_folder

TEXT, RECORD = "model_new.py", "record.json"
NEW_TEXT, NEW_RECORD = f".{TEXT}.new", f".{RECORD}.new"
QUARANTINE, LOCK = ".quarantine", ".lock"


def shipped_cache() -> Path:
    """The winners of the checkout, or those inside an installed wheel."""
    return shipped_folder().parent / "cache"


def folder_of(root: Path, environment_slug: str, template: str, workload_slug: str) -> Path:
    """The entry's folder. Raises CacheError for a name that would lead elsewhere."""
    for name in (environment_slug, template, workload_slug):
        if not name or name.startswith(".") or not re.fullmatch(r"[^/\\\0\r\n]{1,200}", name):
            raise CacheError(f"{root}: {name[:60]!r} cannot name a folder of the cache")
    return root / environment_slug / template / workload_slug


def folders(root: Path) -> list[Path]:
    """Every folder where an entry may lie, sound, damaged or left over, by path; none in a cache that is not there.

    Raises CacheError when a folder may not be read.
    """
    found = [root]
    for _ in ("device", "template", "workload"):
        found = [inner for folder in found for inner in _subfolders(folder)]
    return found


def link_on_the_way(folder: Path) -> Path | None:
    """The part of an entry's folder below the root that is a symbolic link, None for an entry of this cache."""
    return next((part for part in (folder.parents[1], folder.parent, folder) if part.is_symlink()), None)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            names = [e.name for e in found if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CacheError(f"{folder}: the cache cannot be read: {error.strerror}") from None
    return [folder / name for name in sorted(names)]
