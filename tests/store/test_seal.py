"""A record's hash over itself: what a search wrote opens, what was edited does not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tuner.records import Record
from tuner.store.seal import BrokenSeal, opened, seal_of, sealed


def test_a_sealed_record_opens(make_record: Callable[..., Record]) -> None:
    record = make_record()
    assert opened(sealed(record)) == record


@pytest.mark.parametrize(
    "edit",
    [
        lambda plain: plain.update(confirmed=not plain["confirmed"]),
        lambda plain: plain["environment"].update(driver="999"),
        lambda plain: plain["evaluation"]["performance"].update(latency_ms=0.001),
        lambda plain: plain["baselines"][0].update(speedup=100.0),
        lambda plain: plain["floor"].update(memory_ms=0.0),
    ],
    ids=["confirmed", "driver", "time", "speed-up", "floor"],
)
def test_an_edited_one_does_not(make_record: Callable[..., Record], edit: Callable[[dict[str, object]], None]) -> None:
    plain = json.loads(sealed(make_record()))
    edit(plain)
    with pytest.raises(BrokenSeal, match="was edited: it is not what its sha256 says"):
        opened(json.dumps(plain).encode())


def test_one_that_was_sealed_before_its_model_gained_a_field_opens(make_record: Callable[..., Record]) -> None:
    record = make_record()
    plain = record.model_dump(mode="json", exclude={"leaves"})
    assert opened(json.dumps({**plain, "sha256": seal_of(plain)}).encode()) == record


def test_one_without_a_seal_does_not(make_record: Callable[..., Record]) -> None:
    with pytest.raises(BrokenSeal, match="is not a record: sha256: Field required"):
        opened(make_record().model_dump_json().encode())
