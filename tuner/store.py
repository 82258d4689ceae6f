"""The cache of winners: <root>/<device>/<template>/<workload>/{model_new.py, record.json}.

**Writing.** The record is the commit point: it names its text by hash.

1. the new text goes to `.model_new.py.new`, fsynced;
2. the new record replaces `record.json` by one rename: from here on the entry is the new one;
3. `.model_new.py.new` is renamed to `model_new.py`.

A reader takes the text that the record names, from either place. So whenever a writer is
killed, the entry is the old one or the new one, whole; the next `put` or `sweep` does step 3
or throws the unused text away. Two renames over plain files work on every file system, where
exchanging two folders in one step does not. Writers hold one lock file; readers hold none.

**Reading.** Nothing is believed: the text's hash must be the record's, the record must lie
where its own fields say, and the template rendered with its knobs must give the same bytes
(`load_checked`). An entry that fails is moved to `.quarantine/`, never executed.

**Matching.** A `Key` has one field for each cause for an entry not to apply; a miss names those
that differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from tuner import render
from tuner.errors import CacheError, TunerError
from tuner.records import Environment, Record, Status, Workload
from tuner.template import Template

TEXT, RECORD = "model_new.py", "record.json"
NEW_TEXT, NEW_RECORD = f".{TEXT}.new", f".{RECORD}.new"
QUARANTINE, LOCK = ".quarantine", ".lock"
LOCK_TIMEOUT_S = 60
UNCONFIRMED = "confirmed: cached no, for its search was interrupted; search again to finish it"


class CorruptEntry(CacheError):
    """An entry that is not what a `put` wrote."""


class StaleEntry(CacheError):
    """A sound entry made from another version of the template: a miss."""


# ---- what an entry is for ----


@dataclass(frozen=True)
class Key:
    """Everything that decides whether an entry applies, one field a cause of a miss."""

    template: str
    init: str
    shapes: str
    dtype: str
    precision: str
    device_name: str
    capability: str
    cores: str
    driver: str
    toolkit: str
    torch: str
    template_digest: str

    @classmethod
    def of(cls, template: str, workload: Workload, environment: Environment, digest: str) -> Key:
        return cls(
            template=template,
            init=json.dumps(workload.model_dump(mode="json")["init"]),
            shapes=", ".join("x".join(map(str, shape)) for shape in workload.shapes),
            dtype=workload.dtype,
            precision=workload.precision,
            device_name=environment.device_name,
            capability=".".join(map(str, environment.capability)),
            cores=str(environment.cores),
            driver=environment.driver,
            toolkit=environment.toolkit,
            torch=environment.torch.split("+")[0],  # the build ("+cu130") follows from device and toolkit
            template_digest=digest,
        )


SOFTWARE = ("driver", "toolkit", "torch")  # what may be waived where a kernel, not a measurement, is wanted


def differences(cached: Key, here: Key) -> list[str]:
    """Names of the fields that differ."""
    return [field.name for field in fields(Key) if getattr(cached, field.name) != getattr(here, field.name)]


def record_key(record: Record) -> Key:
    return Key.of(record.template, record.workload, record.environment, record.template_digest)


def tuned(record: Record) -> render.Tuned:
    """What `render.candidate` gets for a record; its text is the record's `model_new.py`."""
    return render.tuned_for(record.point.config, record.workload, record.environment)


# ---- reading ----


@dataclass(frozen=True)
class Entry:
    """A winner on disk, its text read and found to be the one that the record names."""

    folder: Path
    record: Record
    text: str

    @property
    def root(self) -> Path:
        return self.folder.parents[2]


def folder_of(root: Path, environment_slug: str, template: str, workload_slug: str) -> Path:
    """The entry's folder. Raises CacheError for a name that would lead elsewhere."""
    for name in (environment_slug, template, workload_slug):
        if not name or name.startswith(".") or not re.fullmatch(r"[^/\\\0\r\n]{1,200}", name):
            raise CacheError(f"{root}: {name[:60]!r} cannot name a folder of the cache")
    return root / environment_slug / template / workload_slug


def get(root: Path, environment_slug: str, template: str, workload_slug: str) -> Entry | None:
    """The entry at these names, None where there is none.

    Raises CorruptEntry, the entry moved to the quarantine, when it is damaged.
    """
    folder = folder_of(root, environment_slug, template, workload_slug)
    try:
        return _read(folder)
    except CorruptEntry as fault:
        raise _quarantined(folder, None, str(fault)) from None


def scan(root: Path) -> tuple[list[Entry], list[str]]:
    """All entries, by path, and one line for each damaged one. Moves and changes nothing."""
    entries, faults = [], []
    for folder in _folders(root):
        try:
            entry = _read(folder)
        except CorruptEntry as fault:
            faults.append(str(fault))
        else:
            entries += [entry] if entry else []
    return entries, faults


def entries(root: Path) -> list[Entry]:
    return scan(root)[0]


def winners(root: Path, environment_slug: str, template: str) -> list[Entry]:
    """A device's entries for a template. Raises CorruptEntry like `get`."""
    device_folder = folder_of(root, environment_slug, template, "any").parent
    names = sorted(f.name for f in _folders(root) if f.parent == device_folder)
    found = (get(root, environment_slug, template, name) for name in names)
    return [entry for entry in found if entry is not None]


def load_checked(entry: Entry, template: Template) -> str:
    """The entry's text, once it is shown to be what the template renders with the record's knobs.

    Raises StaleEntry when the template is another version than the record's (a miss: nothing
    is moved), and CorruptEntry, the entry moved to the quarantine, when something was altered.
    """
    record = entry.record
    if record.template != template.name:
        raise StaleEntry(f"{entry.folder}: is for template {record.template}, not {template.name}")
    variant = next((v for v in template.variants if v.name == record.point.variant), None)
    digest = render.digest(template, variant) if variant else "no such variant"
    if digest != record.template_digest:
        raise StaleEntry(
            f"{entry.folder}: template_digest differs: {record.template_digest[:12]} when it was tuned, "
            f"{digest[:12] if variant else digest} now: {template.name} has changed since"
        )
    fault = _altered(record, template)
    if fault is None and render.candidate(template, [tuned(record)]).text != entry.text:
        fault = f"{TEXT} is not what the template renders with the record's knobs"
    if fault is not None:
        raise _quarantined(entry.folder, entry, f"{entry.folder}: {fault}")
    return entry.text


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
    if record.workload.dtype not in ("float32", "float16", "bfloat16", "float64"):
        return "its dtype is unknown"
    return None


def _folders(root: Path) -> list[Path]:
    found = root.glob("[!.]*/[!.]*/[!.]*") if root.is_dir() else ()
    return sorted(folder for folder in found if folder.is_dir())


def _read(folder: Path) -> Entry | None:
    """The entry in `folder`; None without a record. Raises CorruptEntry.

    A writer may step in between reading the record and its text. So a text counts as wrong
    only when a second look, under the same record, finds no right one either.
    """
    before = None
    for _ in range(100):
        raw = _bytes(folder / RECORD)
        if raw is None:
            return None
        try:
            record = Record.model_validate_json(raw)
            home = folder_of(folder.parents[2], record.environment.slug, record.template, record.workload.slug)
        except (ValidationError, CacheError, IndexError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise CorruptEntry(f"{folder / RECORD}: is not a record: {reason}") from None
        if home != folder:
            raise CorruptEntry(f"{folder / RECORD}: belongs at {home}")
        for name in (TEXT, NEW_TEXT):
            text = _bytes(folder / name)
            if text is not None and hashlib.sha256(text).hexdigest() == record.candidate_sha256:
                return Entry(folder, record, text.decode(errors="replace"))  # if replaced, it is not what renders
        if raw == before and raw == _bytes(folder / RECORD):
            break
        before = raw
    raise CorruptEntry(f"{folder / TEXT}: is not the text that {RECORD} names by its hash")


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CorruptEntry(f"{path}: cannot be read: {error.strerror}") from None


def _quarantined(folder: Path, entry: Entry | None, reason: str) -> CorruptEntry:
    """Move a damaged entry aside and return the error that says so.

    `entry` is what was read and found altered, None if it could not be read; if a
    writer has replaced it by now, it stays.
    """
    root = folder.parents[2]
    now = time.time_ns()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now // 10**9))}.{now % 10**9:09d}"
    target = root / QUARANTINE / f"{'--'.join(folder.parts[-3:])[:200]}--{stamp}"
    try:
        with _locked(root):
            with contextlib.suppress(CorruptEntry):
                if _read(folder) != entry:
                    return CorruptEntry(f"{reason} (it has been replaced meanwhile; try again)")
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
    except CacheError as error:
        return CorruptEntry(f"{reason}; it is not used, and could not be moved aside: {error}")
    return CorruptEntry(f"{reason}; it is not used, and was moved to {target}")


# ---- writing ----


def put(root: Path, record: Record, text: str, replace: bool = False) -> bool:
    """Store a winner; False when a better one, measured in the same conditions, was kept.

    The same conditions: an equal `Key`, problem and error budget. In others times do not
    compare, and the newest wins. Better: confirmed by a final, then faster. `replace` stores
    it in any case. Raises CacheError when the cache cannot be written; the entry is then what
    it was.
    """
    if record.evaluation.status is not Status.OK or render.Candidate(text).sha256 != record.candidate_sha256:
        raise ValueError("only a record that is ok, with the very text that it names, can be stored")
    folder = folder_of(root, record.environment.slug, record.template, record.workload.slug)
    with _locked(root):
        try:
            old = _read(folder)
        except CorruptEntry:
            old = None  # replaced by this sound one
        comparable = old is not None and _conditions(old.record) == _conditions(record)
        if old is not None and comparable and not replace and _merit(old.record) >= _merit(record):
            return False
        created = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        _finish(folder)
        try:
            _write(folder / NEW_TEXT, text.encode())
            _write(folder / NEW_RECORD, (record.model_dump_json(indent=2) + "\n").encode())
            _sync(folder)  # the text must be there before a record can name it
            os.replace(folder / NEW_RECORD, folder / RECORD)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                for name in (NEW_TEXT, NEW_RECORD):
                    (folder / name).unlink(missing_ok=True)
                _remove_empty(folder, root)
            raise
        _sync(folder)
        _finish(folder)
        if created:
            for parent in (folder.parent, folder.parents[1], root):
                _sync(parent)
    return True


def remove(entry: Entry) -> None:
    """Delete an entry, its record first: without one the rest is a leftover. Raises CacheError."""
    with _locked(entry.root):
        for name in (RECORD, NEW_RECORD, TEXT, NEW_TEXT):
            (entry.folder / name).unlink(missing_ok=True)
        _remove_empty(entry.folder, entry.root)


def sweep(root: Path) -> None:
    """Finish or clear away what killed writers left. Raises CacheError on a read-only cache."""
    if not root.is_dir():
        return
    with _locked(root):
        for folder in _folders(root):
            _finish(folder)
            _remove_empty(folder, root)


def _conditions(record: Record) -> tuple[Key, str, float]:
    return record_key(record), record.problem_sha256, record.error_budget


def _merit(record: Record) -> tuple[bool, float]:
    return record.confirmed, -record.latency_ms


def _finish(folder: Path) -> None:
    """Do what a killed writer left to do: step 3 when its record is in place, else take its text back."""
    (folder / NEW_RECORD).unlink(missing_ok=True)
    new, raw = _bytes(folder / NEW_TEXT), _bytes(folder / RECORD)
    if new is None:
        return
    named = None
    if raw is not None:
        with contextlib.suppress(ValidationError):
            named = Record.model_validate_json(raw).candidate_sha256
    if hashlib.sha256(new).hexdigest() == named:
        os.replace(folder / NEW_TEXT, folder / TEXT)
        _sync(folder)
    else:
        (folder / NEW_TEXT).unlink()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make renames in `folder` last through a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(folder: Path, root: Path) -> None:
    for empty in (folder, folder.parent, folder.parents[1]):
        if empty == root or any(empty.iterdir()):
            return
        empty.rmdir()


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One writer at a time in a cache. The kernel frees the lock of a killed process."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise CacheError(f"{root}: another process has held the cache for {LOCK_TIMEOUT_S} s") from None
    except TunerError:
        raise
    except OSError as error:
        raise CacheError(f"{root}: cannot write the cache: {error.strerror or error}") from error


# ---- misses ----


def why(
    root: Path, template: str, workload: Workload, environment: Environment, digests: Mapping[str, str], limit: int = 3
) -> list[str]:
    """For each of the nearest entries of a template one line: which fields differ, and how.

    An entry that applies is "a hit". Arguments as of `nearest`.
    """
    lines = []
    for entry, cached, here in nearest(root, template, workload, environment, digests)[:limit]:
        said = explain(cached, here, differences(cached, here))
        if not entry.record.confirmed:
            said = "; ".join([*([said] if said else []), UNCONFIRMED])
        lines.append(f"{entry.folder}: {said or 'a hit'}")
    return lines


def nearest(
    root: Path, template: str, workload: Workload, environment: Environment, digests: Mapping[str, str]
) -> list[tuple[Entry, Key, Key]]:
    """The entries of a template, each with its key and the one that would be a hit; fewest differing fields first.

    `digests` has the present digest of each variant (`render.digest`).
    """
    found = []
    for entry in entries(root):
        if entry.record.template == template:
            digest = digests.get(entry.record.point.variant, "no such variant")
            cached, here = record_key(entry.record), Key.of(template, workload, environment, digest)
            found.append((entry, cached, here))
    return sorted(found, key=lambda each: (len(differences(each[1], each[2])), str(each[0].folder)))


def explain(cached: Key, here: Key, names: Sequence[str]) -> str:
    """These fields of two keys, side by side."""

    def shown(key: Key, name: str) -> str:
        value = str(getattr(key, name))
        return value[:12] if re.fullmatch(r"[0-9a-f]{64}", value) else value

    return "; ".join(f"{name}: cached {shown(cached, name)}, here {shown(here, name)}" for name in names)
