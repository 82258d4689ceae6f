"""Why no entry applies: the nearest ones, with the fields that differ. Nothing is moved here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuner.records import Environment, Record, Workload
from tuner.store.entry import CorruptEntry, Entry, StaleEntry, check, without_evidence
from tuner.store.key import Digests, Key, differences, explain, record_key, short
from tuner.store.reading import entries, scan
from tuner.template import Template

UNCONFIRMED = "confirmed: cached no, for its search was interrupted; search again to finish it"


@dataclass(frozen=True)
class Answer:
    """What an entry has to say to a question: why it does not apply, "" for a hit."""

    folder: Path
    reason: str


def why(
    root: Path, template: Template, workload: Workload, environment: Environment, problem_sha256: str, limit: int = 3
) -> list[Answer]:
    """The workload's damaged entries, then the nearest of the template with the fields that differ.

    A hit is an entry that an export would take and an import load.
    """
    place = (template.name, workload.slug)
    damaged = [fault for fault in scan(root)[1] if fault.folder.parts[-2:] == place]
    digests = Digests(template)
    near = nearest(root, digests, workload, environment)[:limit]
    return [Answer(fault.folder, fault.reason) for fault in damaged] + [
        Answer(entry.folder, _reason(entry, digests, cached, here, problem_sha256)) for entry, cached, here in near
    ]


def nearest(root: Path, digests: Digests, workload: Workload, environment: Environment) -> list[tuple[Entry, Key, Key]]:
    """The entries of a template, each with its key and the one that would be a hit; fewest differing fields first."""
    template, found = digests.template.name, []
    for entry in entries(root):
        if entry.record.template == template:
            here = Key.of(template, workload, environment, digests.of(entry.record))
            found.append((entry, record_key(entry.record), here))
    return sorted(found, key=lambda each: (len(differences(each[1], each[2])), str(each[0].folder)))


def unconfirmed(record: Record) -> str:
    """Why nobody can rely on a record's having been judged; "" when its judge's evidence is in it."""
    return without_evidence(record) if record.confirmed else UNCONFIRMED


def _reason(entry: Entry, digests: Digests, cached: Key, here: Key, problem_sha256: str) -> str:
    said = [explain(cached, here, differences(cached, here))]
    try:
        check(entry, digests.template, digests)
    except StaleEntry:
        pass  # template_digest is among the differences, or its evidence is said below
    except CorruptEntry as fault:
        said.append(fault.reason)
    if entry.record.problem_sha256 != problem_sha256:
        said.append(f"problem: cached {short(entry.record.problem_sha256)}, here {short(problem_sha256)}")
    said.append(unconfirmed(entry.record))
    return "; ".join(part for part in said if part)
