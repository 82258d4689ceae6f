"""Nothing is believed unchecked; what is damaged goes to the quarantine and is said."""

from __future__ import annotations

import os
import pathlib
import threading
from pathlib import Path
from typing import NoReturn

import pytest
from helpers.cache import DAMAGES, Change, Damage, cut, edit, only, without_case
from helpers.tiny import MakeRecord, Put, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner import store
from tuner.errors import CacheError
from tuner.template import Template


def test_what_was_put_is_got(root: Path, put: Put, tiny: Template) -> None:
    record = put(root)
    entry = store.get(root, record.environment.slug, "tiny", record.workload.slug)
    assert entry is not None
    assert entry.record == record
    assert store.load_checked(entry, tiny) == text_of(tiny, record).text == (entry.folder / "model_new.py").read_text()


def test_nothing_is_got_where_nothing_is(root: Path, put: Put) -> None:
    assert store.get(root, "a", "b", "c") is None
    assert store.entries(root) == []
    put(root)
    assert store.get(root, "cpu-test-cpu-2c", "tiny", "other") is None


def test_winners_are_those_of_one_device_and_template(root: Path, put: Put) -> None:
    put(root)
    put(root, shape=(5, 8))
    put(root, device_name="Other CPU")
    assert len(store.winners(root, "cpu-test-cpu-2c", "tiny")) == 2
    assert len(store.entries(root)) == 3


def test_readers_never_see_a_torn_entry_while_writers_race(
    root: Path, put: Put, make_record: MakeRecord, tiny: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    records = [make_record(knobs={"unroll": u}) for u in (1, 2, 4, 8)]
    texts = [text_of(tiny, record).text for record in records]
    store.put(root, records[0], texts[0])

    def write(start: int) -> None:
        for i in range(60):
            store.put(root, records[(start + i) % 4], texts[(start + i) % 4], replace=True)

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        entries, faults = store.scan(root)
        assert faults == []
        assert store.load_checked(entries[0], tiny) in texts
        reads += 1
    assert reads > 10


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_goes_to_the_quarantine_and_is_said(root: Path, put: Put, damage: Damage) -> None:
    record = put(root)
    folder = only(root).folder
    damage(folder)
    entries, faults = store.scan(root)
    assert (entries, len(faults)) == ([], 1)
    with pytest.raises(store.CorruptEntry, match=r"it is not used, and was moved to .*\.quarantine") as caught:
        store.get(root, record.environment.slug, "tiny", record.workload.slug)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    assert len(list((root / ".quarantine").iterdir())) == 1
    assert store.get(root, record.environment.slug, "tiny", record.workload.slug) is None
    assert store.scan(root) == ([], [])


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(extra=1),
        lambda v: v.pop("seed"),
        lambda v: v.update(schema_version=2),
        lambda v: v["evaluation"].update(status="crash"),
        lambda v: v["evaluation"]["performance"].update(latency_ms=-1),
        lambda v: v.update(candidate_sha256="0" * 64),
        lambda v: v["environment"].update(device_name="Another CPU"),
        lambda v: v["environment"].update(device_name="../../x"),
        lambda v: v.update(template="../x"),
        lambda v: v.update(template="other"),
        lambda v: v["workload"].update(precision="tf32"),
        lambda v: v["workload"].update(inputs=[]),
        lambda v: v["workload"]["inputs"][0].update(shape=[4, 9]),
    ],
)
def test_an_altered_record_is_not_read(root: Path, put: Put, change: Change) -> None:
    record = put(root)
    edit(only(root), change)
    with pytest.raises(store.CorruptEntry):
        store.get(root, record.environment.slug, "tiny", record.workload.slug)


def test_an_entry_replaced_meanwhile_is_not_moved(root: Path, put: Put, tiny: Template) -> None:
    put(root)
    edit(only(root), lambda v: v["point"]["knobs"].update(unroll=8))
    altered = only(root)
    good = put(root, replace=True, latency_ms=0.5)
    with pytest.raises(store.CorruptEntry, match="replaced meanwhile"):
        store.load_checked(altered, tiny)
    assert only(root).record == good


def test_where_it_cannot_be_moved_it_is_not_used_either(
    root: Path, put: Put, tiny: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(root)
    cut(only(root).folder / "model_new.py")

    def refuse(*arguments: object, **keywords: object) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(store.CorruptEntry, match=r"could not be moved aside: .*Read-only file system"):
        store.get(root, record.environment.slug, "tiny", record.workload.slug)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_any_byte_altered_in_an_entry_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, put: Put, tiny: Template, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "cache"
    record = put(root)
    path = only(root).folder / data.draw(st.sampled_from(["record.json", "model_new.py"]))
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        entry = store.get(root, record.environment.slug, "tiny", record.workload.slug)
        assert entry is not None
        text: str | None = store.load_checked(entry, tiny)
    except CacheError as error:
        text = None
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert text in (None, text_of(tiny, record).text)


def test_one_without_the_judge_s_evidence_is_a_miss_and_stays_where_it_is(root: Path, put: Put, tiny: Template) -> None:
    put(root)
    edit(only(root), without_case("time from outside"))
    with pytest.raises(store.StaleEntry, match="without the judge's evidence: no time from outside; search again"):
        store.load_checked(only(root), tiny)
    assert store.folders(root)
