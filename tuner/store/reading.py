"""Entries by place, device or template. Readers hold no lock."""

from __future__ import annotations

from pathlib import Path

from tuner.store.entry import CorruptEntry, Entry, check, read
from tuner.store.key import Digests
from tuner.store.layout import folder_of, folders
from tuner.store.quarantine import quarantined
from tuner.template import Template


def get(root: Path, environment_slug: str, template: str, workload_slug: str) -> Entry | None:
    """The entry at these names, None where there is none.

    Raises CorruptEntry, the entry moved to the quarantine, when it is damaged.
    """
    return fetch(folder_of(root, environment_slug, template, workload_slug))


def fetch(folder: Path) -> Entry | None:
    """`get` by the entry's folder, one of `folders`."""
    try:
        return read(folder)
    except CorruptEntry as fault:
        raise quarantined(fault, None) from None


def scan(root: Path) -> tuple[list[Entry], list[CorruptEntry]]:
    """All entries, and the fault of each damaged one, by path. Moves and changes nothing."""
    entries, faults = [], []
    for folder in folders(root):
        try:
            entry = read(folder)
        except CorruptEntry as fault:
            faults.append(fault)
        else:
            entries += [entry] if entry else []
    return entries, faults


def entries(root: Path) -> list[Entry]:
    """The sound entries, by path."""
    return scan(root)[0]


def winners(root: Path, environment_slug: str, template: str) -> list[Entry]:
    """A device's entries for a template. Raises CorruptEntry like `get`."""
    device_folder = folder_of(root, environment_slug, template, "any").parent
    found = (fetch(folder) for folder in folders(root) if folder.parent == device_folder)
    return [entry for entry in found if entry is not None]


def load_checked(entry: Entry, template: Template, digests: Digests | None = None) -> str:
    """The entry's text, once it is shown to be what the template renders with the record's knobs.

    Raises StaleEntry when the template is another version than the record's (a miss: nothing
    is moved), and CorruptEntry, the entry moved to the quarantine, when something was altered.
    """
    try:
        check(entry, template, digests)
    except CorruptEntry as fault:
        raise quarantined(fault, entry) from None
    return entry.text
