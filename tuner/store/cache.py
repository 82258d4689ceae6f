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
(`load_checked`). An entry that fails is moved to `.quarantine/`, never executed; it stands in
the way of no new one.

**Matching.** A `Key` has one field for each cause for an entry not to apply; a miss names those
that differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from tuner.errors import CacheError, TunerError
from tuner.records import Environment, Record, Status, Workload
from tuner.template import Template, render, shipped_folder

TEXT, RECORD = "model_new.py", "record.json"
NEW_TEXT, NEW_RECORD = f".{TEXT}.new", f".{RECORD}.new"
QUARANTINE, LOCK = ".quarantine", ".lock"
LOCK_TIMEOUT_S = 60
UNCONFIRMED = "confirmed: cached no, for its search was interrupted; search again to finish it"


class EntryFault(CacheError):
    """Why an entry is not used; `reason` is the message without the folder that it begins with."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder}: {reason}")
        self.folder, self.reason = folder, reason


class CorruptEntry(EntryFault):
    """An entry that is not what a `put` wrote."""


class StaleEntry(EntryFault):
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
    return render.tuned_for(record.point, record.workload, record.environment)


# ---- reading ----


@dataclass(frozen=True)
class Entry:
    """A winner on disk, its text read and found to be the one that the record names."""

    folder: Path
    record: Record
    text: str


def folder_of(root: Path, environment_slug: str, template: str, workload_slug: str) -> Path:
    """The entry's folder. Raises CacheError for a name that would lead elsewhere."""
    for name in (environment_slug, template, workload_slug):
        if not name or name.startswith(".") or not re.fullmatch(r"[^/\\\0\r\n]{1,200}", name):
            raise CacheError(f"{root}: {name[:60]!r} cannot name a folder of the cache")
    return root / environment_slug / template / workload_slug


def shipped_cache() -> Path:
    """The winners of the checkout, or those inside an installed wheel."""
    return shipped_folder().parent / "cache"


def get(root: Path, environment_slug: str, template: str, workload_slug: str) -> Entry | None:
    """The entry at these names, None where there is none.

    Raises CorruptEntry, the entry moved to the quarantine, when it is damaged.
    """
    return fetch(folder_of(root, environment_slug, template, workload_slug))


def fetch(folder: Path) -> Entry | None:
    """`get` by the entry's folder, one of `folders`."""
    try:
        return _read(folder)
    except CorruptEntry as fault:
        raise _quarantined(fault, None) from None


def scan(root: Path) -> tuple[list[Entry], list[CorruptEntry]]:
    """All entries, and the fault of each damaged one, by path. Moves and changes nothing."""
    entries, faults = [], []
    for folder in folders(root):
        try:
            entry = _read(folder)
        except CorruptEntry as fault:
            faults.append(fault)
        else:
            entries += [entry] if entry else []
    return entries, faults


def entries(root: Path) -> list[Entry]:
    return scan(root)[0]


def winners(root: Path, environment_slug: str, template: str) -> list[Entry]:
    """A device's entries for a template. Raises CorruptEntry like `get`."""
    device_folder = folder_of(root, environment_slug, template, "any").parent
    names = sorted(f.name for f in folders(root) if f.parent == device_folder)
    found = (get(root, environment_slug, template, name) for name in names)
    return [entry for entry in found if entry is not None]


def load_checked(entry: Entry, template: Template) -> str:
    """The entry's text, once it is shown to be what the template renders with the record's knobs.

    Raises StaleEntry when the template is another version than the record's (a miss: nothing
    is moved), and CorruptEntry, the entry moved to the quarantine, when something was altered.
    """
    try:
        _check(entry, template)
    except CorruptEntry as fault:
        raise _quarantined(fault, entry) from None
    return entry.text


def _check(entry: Entry, template: Template) -> None:
    """What `load_checked` raises, nothing moved."""
    record = entry.record
    if record.template != template.name:
        raise StaleEntry(entry.folder, f"is for template {record.template}, not {template.name}")
    variant = next((v for v in template.variants if v.name == record.point.variant), None)
    digest = render.digest(template, variant) if variant else "no such variant"
    if digest != record.template_digest:
        raise StaleEntry(
            entry.folder,
            f"template_digest differs: {record.template_digest[:12]} when it was tuned, "
            f"{digest[:12] if variant else digest} now: {template.name} has changed since",
        )
    fault = _altered(record, template)
    if fault is None and render.candidate(template, [tuned(record)]).text != entry.text:
        fault = f"{TEXT} is not what the template renders with the record's knobs"
    if fault is not None:
        raise CorruptEntry(entry.folder, fault)


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


def folders(root: Path) -> list[Path]:
    """Every folder where an entry may lie, sound, damaged or left over."""
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
            raise CorruptEntry(folder, f"{RECORD}: is not a record: {reason}") from None
        if home != folder:
            raise CorruptEntry(folder, f"{RECORD}: belongs at {home}")
        for name in (TEXT, NEW_TEXT):
            text = _bytes(folder / name)
            if text is not None and hashlib.sha256(text).hexdigest() == record.candidate_sha256:
                return Entry(folder, record, text.decode(errors="replace"))  # if replaced, it is not what renders
        if raw == before and raw == _bytes(folder / RECORD):
            break
        before = raw
    raise CorruptEntry(folder, f"{TEXT}: is not the text that {RECORD} names by its hash")


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CorruptEntry(path.parent, f"{path.name}: cannot be read: {error.strerror}") from None


def _quarantined(fault: CorruptEntry, entry: Entry | None) -> CorruptEntry:
    """Move a damaged entry aside and return the error that says so.

    `entry` is what was read and found altered, None if it could not be read; if a
    writer has replaced it by now, it stays.
    """
    folder, reason = fault.folder, fault.reason
    try:
        with _locked(folder.parents[2]):
            with contextlib.suppress(CorruptEntry):
                if _read(folder) != entry:
                    return CorruptEntry(folder, f"{reason} (it has been replaced meanwhile; try again)")
            return _moved(fault)
    except CacheError as error:
        return CorruptEntry(folder, f"{reason}; it is not used, and could not be moved aside: {error}")


def _moved(fault: CorruptEntry) -> CorruptEntry:
    """Move a damaged entry aside, under the lock, and return the error that says so. Raises OSError."""
    folder, now = fault.folder, time.time_ns()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now // 10**9))}.{now % 10**9:09d}"
    target = folder.parents[2] / QUARANTINE / f"{'--'.join(folder.parts[-3:])[:200]}--{stamp}"
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    return CorruptEntry(folder, f"{fault.reason}; it is not used, and was moved to {target}")


# ---- writing ----


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
    folder = folder_of(root, record.environment.slug, record.template, record.workload.slug)
    with _locked(root):
        old = _standing(folder, record, template, say)
        if old is not None and not replace and _stays(old, record):
            return False
        created = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
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


def _standing(folder: Path, new: Record, template: Template | None, say: Callable[[str], None]) -> Record | None:
    """The record that a new one is held against, None for a stale or damaged one; a damaged one is moved aside."""
    try:
        _finish(folder)
        entry = _read(folder)
        if entry is not None and template is not None:
            _check(entry, template)
    except StaleEntry:
        return None
    except CorruptEntry as fault:
        say(str(_moved(fault)))
        return None
    if entry is None or (template is None and entry.record.template_digest != new.template_digest):
        return None  # without the template, another variant is not told from another version
    return entry.record


def remove(folder: Path) -> None:
    """Delete an entry, damaged or not, its record first: without one the rest is a leftover. Raises CacheError."""
    root = folder.parents[2]
    with _locked(root):
        if (folder / RECORD).is_file():
            (folder / RECORD).unlink()
        shutil.rmtree(folder)
        _remove_empty(folder.parent, root)


def sweep(root: Path) -> None:
    """Finish or clear away what killed writers left. Raises CacheError on a read-only cache."""
    if not root.is_dir():
        return
    with _locked(root):
        for folder in folders(root):
            with contextlib.suppress(CorruptEntry, OSError):  # damaged: whoever reads it will tell
                _finish(folder)
                _remove_empty(folder, root)


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
    if _bytes(folder / NEW_RECORD) is not None:  # a folder of this name makes the entry a damaged one
        (folder / NEW_RECORD).unlink()
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


@dataclass(frozen=True)
class Answer:
    """What an entry has to say to a question: why it does not apply, "" for a hit."""

    folder: Path
    reason: str


def why(
    root: Path, template: Template, workload: Workload, environment: Environment, problem_sha256: str, limit: int = 3
) -> list[Answer]:
    """The workload's damaged entries, then the nearest of the template with the fields that differ. Moves nothing.

    A hit is an entry that an export would take and an import load.
    """
    place = (template.name, workload.slug)
    damaged = [fault for fault in scan(root)[1] if fault.folder.parts[-2:] == place]
    digests = {variant.name: render.digest(template, variant) for variant in template.variants}
    near = nearest(root, template.name, workload, environment, digests)[:limit]
    return [Answer(fault.folder, fault.reason) for fault in damaged] + [
        Answer(entry.folder, _reason(entry, template, cached, here, problem_sha256)) for entry, cached, here in near
    ]


def _reason(entry: Entry, template: Template, cached: Key, here: Key, problem_sha256: str) -> str:
    said = [explain(cached, here, differences(cached, here))]
    try:
        _check(entry, template)
    except StaleEntry:
        pass  # template_digest is among the differences
    except CorruptEntry as fault:
        said.append(fault.reason)
    if entry.record.problem_sha256 != problem_sha256:
        said.append(f"problem: cached {entry.record.problem_sha256[:12]}, here {problem_sha256[:12]}")
    if not entry.record.confirmed:
        said.append(UNCONFIRMED)
    return "; ".join(part for part in said if part)


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
