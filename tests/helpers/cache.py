"""Caches as tests make them, look into them and damage them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner import store
from tuner.store.seal import seal_of

Damage = Callable[[Path], object]  # of an entry, by its folder
Change = Callable[[dict[str, Any]], object]  # of a record as JSON


def only(root: Path) -> store.Entry:
    """The one entry of a cache."""
    (entry,) = store.entries(root)
    return entry


def files_of(root: Path) -> list[str]:
    """Everything in a cache but its lock, relative."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != store.LOCK)


def child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; its exit status, 1 when it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def newer(tiny_folder: Path) -> None:
    """Make another version of the template."""
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write("// newer\n")


def edit(entry: store.Entry, change: Change) -> None:
    """Alter a record on disk."""
    value = json.loads((entry.folder / store.RECORD).read_text())
    change(value)
    value["sha256"] = seal_of({name: part for name, part in value.items() if name != "sha256"})
    (entry.folder / store.RECORD).write_text(json.dumps(value))


def without_case(name: str) -> Change:
    """Take the case of this name out of a record."""

    def change(value: dict[str, Any]) -> None:
        correctness = value["evaluation"]["correctness"]
        correctness["cases"] = [case for case in correctness["cases"] if case["name"] != name]

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"def", b"dEf", 1))


DAMAGES: dict[str, Damage] = {
    "text cut": lambda f: cut(f / "model_new.py"),
    "text altered": lambda f: flip(f / "model_new.py"),
    "text gone": lambda f: (f / "model_new.py").unlink(),
    "text empty": lambda f: (f / "model_new.py").write_bytes(b""),
    "text is a folder": lambda f: folder_instead(f / "model_new.py"),
    "record cut": lambda f: cut(f / "record.json"),
    "record empty": lambda f: (f / "record.json").write_bytes(b""),
    "record not UTF-8": lambda f: (f / "record.json").write_bytes(b"\xff"),
    "record is a folder": lambda f: folder_instead(f / "record.json"),
    "record of another kind": lambda f: (f / "record.json").write_text("[1]"),
}
