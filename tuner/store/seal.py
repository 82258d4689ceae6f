"""A record on disk carries a hash over itself: one that was edited is not used.

It is no signature: who rewrites the hash as well is believed. It tells an edit by hand, a bad merge
or a torn file from what a search wrote.
"""

from __future__ import annotations

import hashlib
import json

from pydantic import ValidationError

from tuner.records import Record


class BrokenSeal(ValueError):
    """Bytes that are no record, or not the one that was sealed; the text says how."""


class SealedRecord(Record):
    """A record as it lies on disk."""

    sha256: str  # of the JSON of everything else, keys sorted and without spaces


def sealed(record: Record) -> bytes:
    """What is written for a record."""
    plain = record.model_dump(mode="json")
    return (json.dumps({**plain, "sha256": seal_of(plain)}, indent=2, ensure_ascii=False) + "\n").encode()


def opened(raw: bytes) -> Record:
    """The record in these bytes. Raises BrokenSeal."""
    try:
        found = SealedRecord.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        raise BrokenSeal(f"is not a record: {where}{first['msg']}") from None
    written = json.loads(raw)  # as it lies: fields that the model has gained since are not part of its seal
    if written.pop("sha256") != seal_of(written):
        raise BrokenSeal("was edited: it is not what its sha256 says")
    return Record.model_validate(found.model_dump(mode="json", exclude={"sha256"}))


def seal_of(plain: dict[str, object]) -> str:
    """The hash over a record's JSON without its seal."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
