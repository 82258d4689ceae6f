"""Storing and deleting entries.

The record is the commit point: it names its text by hash.

1. the new text goes to `.model_new.py.new`, fsynced;
2. the new record replaces `record.json` by one rename: from here on the entry is the new one;
3. `.model_new.py.new` is renamed to `model_new.py`.

A reader takes the text that the record names, from either place. So whenever a writer is
killed, the entry is the old one or the new one, whole; the next `put` or `sweep` does step 3
or throws the unused text away. Two renames over plain files work on every file system, where
exchanging two folders in one step does not. Writers hold one lock file; readers hold none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tuner.errors import CacheError
from tuner.records import Record, Status
from tuner.store import files
from tuner.store.entry import CorruptEntry, StaleEntry, check, read, read_bytes
from tuner.store.files import locked, remove_empty, sync
from tuner.store.key import Key, record_key
from tuner.store.layout import NEW_RECORD, NEW_TEXT, RECORD, TEXT, folder_of, folders, link_on_the_way
from tuner.store.quarantine import moved_aside
from tuner.store.seal import BrokenSeal, opened, sealed
from tuner.template import Template, render


def put(
    root: Path,
    record: Record,
    text: str,
    replace: bool = False,
    template: Template | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Store a winner; False when a better one, measured in the same conditions, was kept.

    The same conditions: an equal `Key` but for the digests, which variants do not share, and an
    equal problem and error budget. In others times do not compare, and the newest wins. Better:
    confirmed by a final, then faster. `replace` stores it in any case.

    With its `template` at hand the standing entry is checked like in `load_checked`: neither a
    stale nor an altered one keeps a new one out. `say` gets a line when a damaged one is moved to
    the quarantine. Raises CacheError when the cache cannot be written; the entry is then what it was.
    """
    if record.evaluation.status is not Status.OK or render.Candidate(text).sha256 != record.candidate_sha256:
        raise ValueError("only a record that is ok, with the very text that it names, can be stored")
    if record.evidence_fault:
        raise ValueError(f"only what the judge has confirmed is stored as confirmed: {record.evidence_fault}")
    folder = folder_of(root, record.environment.slug, record.template, record.workload.slug)
    with locked(root):
        _refuse_link(folder)
        old = _standing(folder, record, template, say)
        if old is not None and not replace and _stays(old, record):
            return False
        created = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            files.write(folder / NEW_TEXT, text.encode())
            files.write(folder / NEW_RECORD, sealed(record))
            sync(folder)  # the text must be there before a record can name it
            os.replace(folder / NEW_RECORD, folder / RECORD)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                for name in (NEW_TEXT, NEW_RECORD):
                    (folder / name).unlink(missing_ok=True)
                remove_empty(folder, root)
            raise
        sync(folder)
        _finish(folder)
        if created:
            for parent in (folder.parent, folder.parents[1], root):
                sync(parent)
    return True


def _standing(folder: Path, new: Record, template: Template | None, say: Callable[[str], None]) -> Record | None:
    """The record that a new one is held against, None for a stale or damaged one; a damaged one is moved aside."""
    try:
        _finish(folder)
        entry = read(folder)
        if entry is not None and template is not None:
            check(entry, template)
    except StaleEntry:
        return None
    except CorruptEntry as fault:
        say(str(moved_aside(fault)))
        return None
    if (
        entry is None
        or entry.record.evidence_fault
        or (template is None and entry.record.template_digest != new.template_digest)
    ):
        return None  # without the template, another variant is not told from another version
    return entry.record


def remove(folder: Path) -> None:
    """Delete an entry, damaged or not, its record first: without one the rest is a leftover. Raises CacheError."""
    root = folder.parents[2]
    with locked(root):
        _refuse_link(folder)
        if (folder / RECORD).is_file():
            (folder / RECORD).unlink()
        shutil.rmtree(folder)
        remove_empty(folder.parent, root)


def sweep(root: Path) -> None:
    """Finish or clear away what killed writers left. Raises CacheError on a read-only cache."""
    if not root.is_dir():
        return
    with locked(root):
        for folder in folders(root):
            with contextlib.suppress(CacheError, OSError):  # damaged: whoever reads it will tell
                _finish(folder)
                remove_empty(folder, root)


def _refuse_link(folder: Path) -> None:
    link = link_on_the_way(folder)
    if link is not None:
        raise CacheError(f"{link}: is a symbolic link, and the cache follows none; make it a folder")


def _stays(old: Record, new: Record) -> bool:
    return _conditions(old) == _conditions(new) and _merit(old) >= _merit(new)


def _conditions(record: Record) -> tuple[Key, str, float]:
    return replace(record_key(record), template_digest=""), record.problem_sha256, record.error_budget


def _merit(record: Record) -> tuple[bool, float]:
    return record.confirmed, -record.latency_ms


def _finish(folder: Path) -> None:
    """Do what a killed writer left to do: step 3 when its record is in place, else take its text back.

    Raises CorruptEntry for what is no file that can be read.
    """
    if read_bytes(folder / NEW_RECORD) is not None:  # a folder of this name makes the entry a damaged one
        (folder / NEW_RECORD).unlink()
    new, raw = read_bytes(folder / NEW_TEXT), read_bytes(folder / RECORD)
    if new is None:
        return
    named = None
    if raw is not None:
        with contextlib.suppress(BrokenSeal):
            named = opened(raw).candidate_sha256
    if hashlib.sha256(new).hexdigest() == named:
        os.replace(folder / NEW_TEXT, folder / TEXT)
        sync(folder)
    else:
        (folder / NEW_TEXT).unlink()
