"""One entry, read and judged. Nothing is believed, and nothing is moved or changed here.

The text's hash must be the record's, the record must lie where its own fields say (`read`), and
the template rendered with its knobs must give the same bytes (`check`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import CacheError
from tuner.records import Record
from tuner.store.key import Digests, short, tuned
from tuner.store.layout import NEW_TEXT, RECORD, TEXT, folder_of, link_on_the_way
from tuner.store.seal import BrokenSeal, opened
from tuner.template import Template, render

_DTYPES = {"float64", "float32", "float16", "bfloat16", "bool", "uint8", "int8", "int16", "int32", "int64"}


class EntryFault(CacheError):
    """Why an entry is not used; `reason` is the message without the folder that it begins with."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}")
        self.folder, self.reason = folder, reason


class CorruptEntry(EntryFault):
    """An entry that is not what a `put` wrote."""


class StaleEntry(EntryFault):
    """A sound entry made from another version of the template, or judged by less than is asked now: a miss."""


@dataclass(frozen=True)
class Entry:
    """A winner on disk, its text read and found to be the one that the record names."""

    folder: Path
    record: Record
    text: str


def read(folder: Path) -> Entry | None:
    """The entry in `folder`; None without a record. Raises CorruptEntry, CacheError where it may not be read.

    A writer may step in between reading the record and its text. So a text counts as wrong
    only when a second look, under the same record, finds no right one either.
    """
    if link_on_the_way(folder):
        return None
    before = None
    for _ in range(100):
        raw = read_bytes(folder / RECORD)
        if raw is None:
            return None
        try:
            record = opened(raw)
            home = folder_of(folder.parents[2], record.environment.slug, record.template, record.workload.slug)
        except BrokenSeal as fault:
            raise CorruptEntry(folder, f"{RECORD}: {fault}") from None
        except (CacheError, IndexError) as error:
            raise CorruptEntry(folder, f"{RECORD}: is not a record: {error}") from None
        if home != folder:
            raise CorruptEntry(folder, f"{RECORD}: belongs at {home}")
        for name in (TEXT, NEW_TEXT):
            text = read_bytes(folder / name)
            if text is not None and hashlib.sha256(text).hexdigest() == record.candidate_sha256:
                return Entry(folder, record, text.decode(errors="replace"))  # if replaced, it is not what renders
        if raw == before and raw == read_bytes(folder / RECORD):
            break
        before = raw
    raise CorruptEntry(folder, f"{TEXT}: is not the text that {RECORD} names by its hash")


def read_bytes(path: Path) -> bytes | None:
    """A file of an entry, None where there is none.

    Raises CorruptEntry for what is no file, CacheError for one that may not be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise CacheError(f"{path}: the cache cannot be read: {error.strerror}") from None
    except OSError as error:
        raise CorruptEntry(path.parent, f"{path.name}: cannot be read: {error.strerror}") from None


def check(entry: Entry, template: Template, digests: Digests | None = None) -> None:
    """Raise StaleEntry or CorruptEntry unless the template renders the entry's text with the record's knobs."""
    record = entry.record
    if record.template != template.name:
        raise StaleEntry(entry.folder, f"is for template {record.template}, not {template.name}")
    digest = (digests or Digests(template)).of(record)
    if digest != record.template_digest:
        raise StaleEntry(
            entry.folder,
            f"template_digest differs: {short(record.template_digest)} when it was tuned, "
            f"{short(digest)} now: {template.name} has changed since",
        )
    if record.evidence_fault:
        raise StaleEntry(entry.folder, without_evidence(record))
    fault = _altered(record, template)
    if fault is None and render.candidate(template, [tuned(record)]).text != entry.text:
        fault = f"{TEXT} is not what the template renders with the record's knobs"
    if fault is not None:
        raise CorruptEntry(entry.folder, fault)


def without_evidence(record: Record) -> str:
    """What is said of a record that says to be confirmed and lacks the judge's evidence; "" of any other."""
    fault = record.evidence_fault
    return f"confirmed: cached yes, without the judge's evidence: {fault}; search again" if fault else ""


def _altered(record: Record, template: Template) -> str | None:
    """What in a record could not have come from a search, and so must not reach the renderer.

    Names, knob values and dtypes become Python and C text: only known ones may.
    """
    choices = {knob.name: knob.choices for knob in template.variant(record.point.variant).knobs}
    if set(record.point.knobs) != set(choices):
        return "its knobs are not the variant's"
    for name, value in record.point.knobs.items():
        if not any(type(value) is type(choice) and value == choice for choice in choices[name]):
            return f"knob {name} has a value that is not among the template's choices"
    if not re.fullmatch(r"[A-Za-z0-9 ()@.,:+_-]+", record.environment.device_name):
        return "its device_name is not a device's name"
    if record.leaves != template.variant(record.point.variant).leaves:
        return "it leaves to PyTorch what its variant does not"
    if not set(record.workload.dtypes) <= _DTYPES:
        return "its dtype is unknown"
    return None
