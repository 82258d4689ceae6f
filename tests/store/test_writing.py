"""Whole entries or none: which result stays, and what kills, full disks and damage leave."""

from __future__ import annotations

import os
import pathlib
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from filelock import FileLock
from helpers.cache import DAMAGES, Damage, child, edit, files_of, newer, only, without_case
from helpers.tiny import EVIDENCE, HERE, MakeRecord, Put, changed, text_of

from tuner import store, template
from tuner.errors import CacheError
from tuner.records import Record
from tuner.store import files
from tuner.store.seal import sealed
from tuner.template import Template, render

PutPlainer = Callable[..., tuple[bool, list[str], Record]]


def test_only_a_record_with_its_very_text_can_be_put(root: Path, make_record: MakeRecord) -> None:
    with pytest.raises(ValueError, match="the very text"):
        store.put(root, make_record(), "another text")


def test_remove_leaves_nothing(root: Path, put: Put) -> None:
    put(root)
    store.remove(only(root).folder)
    assert [p.name for p in root.iterdir()] == [store.LOCK]


def test_remove_keeps_the_neighbours(root: Path, put: Put) -> None:
    put(root)
    put(root, shape=(5, 8))
    store.remove(store.entries(root)[0].folder)
    assert len(store.entries(root)) == 1


@pytest.mark.parametrize("second_ms", [1.0, 1.5])
def test_a_slower_or_equal_result_does_not_replace(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord, second_ms: float
) -> None:
    first = put(root, latency_ms=1.0)
    second = make_record(latency_ms=second_ms, knobs={"unroll": 8})
    assert store.put(root, second, text_of(tiny, second).text) is False
    assert only(root).record == first


def test_a_faster_result_replaces(root: Path, put: Put) -> None:
    put(root, latency_ms=1.0)
    second = put(root, latency_ms=0.9, knobs={"unroll": 8})
    assert only(root).record == second


def test_an_unconfirmed_result_never_replaces_a_confirmed_one(root: Path, put: Put) -> None:
    first = put(root, latency_ms=1.0)
    put(root, latency_ms=0.5, confirmed=False, knobs={"unroll": 8})
    assert only(root).record == first


def test_one_without_the_judge_s_evidence_keeps_no_other_out(root: Path, put: Put) -> None:
    put(root, latency_ms=0.5)
    edit(only(root), without_case("time from outside"))
    assert only(root).record != put(root, latency_ms=1.0)
    assert only(root).record.latency_ms == 1.0


def test_nothing_is_stored_as_confirmed_without_the_judge_s_evidence(
    root: Path, tiny: Template, make_record: MakeRecord
) -> None:
    record = make_record()
    assert record.evaluation.correctness is not None
    correctness = record.evaluation.correctness.with_cases(EVIDENCE[:-1])
    record = changed(record, evaluation=changed(record.evaluation, correctness=correctness))
    with pytest.raises(ValueError, match="no time from outside"):
        store.put(root, record, text_of(tiny, record).text)
    assert store.folders(root) == []


def test_a_confirmed_result_replaces_an_unconfirmed_one(root: Path, put: Put) -> None:
    put(root, latency_ms=0.5, confirmed=False)
    second = put(root, latency_ms=1.0, knobs={"unroll": 8})
    assert only(root).record == second


def test_a_slower_result_replaces_when_asked(root: Path, put: Put) -> None:
    put(root, latency_ms=1.0)
    second = put(root, replace=True, latency_ms=2.0)
    assert only(root).record == second


@pytest.mark.parametrize(
    "changed", [{"driver": "580.1"}, {"toolkit": "gcc 13.1.0"}, {"torch": "2.10.0"}, {"error_budget": 2.0}]
)
def test_under_other_conditions_the_newest_wins(root: Path, put: Put, changed: dict[str, Any]) -> None:
    put(root, latency_ms=1.0)
    second = put(root, latency_ms=2.0, **changed)
    assert only(root).record == second


def test_another_version_of_the_template_wins_over_the_older_one(root: Path, put: Put, tiny_folder: Path) -> None:
    put(root, latency_ms=1.0)
    newer(tiny_folder)
    second = put(root, latency_ms=2.0)
    assert only(root).record == second


@pytest.fixture
def put_plainer(root: Path, tiny_folder: Path, make_record: MakeRecord) -> PutPlainer:
    """Store a winner of a second variant, the template at hand: whether it was stored, what was said, the record."""
    path = tiny_folder / "template.py"
    path.write_text(path.read_text() + "VARIANTS += (dataclasses.replace(VARIANTS[0], name='plainer'),)\n")
    path.write_text("import dataclasses\n" + path.read_text())
    (tiny_folder / "plainer.py").write_text(
        (tiny_folder / "plain.py").read_text().replace("def plain(", "def plainer(")
    )

    def put_plainer(**changes: Any) -> tuple[bool, list[str], Record]:
        kernel = template.load(tiny_folder)
        said: list[str] = []
        record = make_record(**changes)
        record = changed(
            record,
            template_digest=render.digest(kernel, kernel.variant("plainer")),
            point=replace(record.point, variant="plainer"),
        )
        text = text_of(kernel, record)
        record = changed(record, candidate_sha256=text.sha256)
        return store.put(root, record, text.text, template=kernel, say=said.append), said, record

    return put_plainer


@pytest.mark.parametrize(
    ("old", "new", "stored"),
    [
        ({"latency_ms": 1.0}, {"latency_ms": 2.0}, False),
        ({"latency_ms": 1.0}, {"latency_ms": 1.0}, False),
        ({"latency_ms": 1.0}, {"latency_ms": 0.5}, True),
        ({"latency_ms": 1.0}, {"latency_ms": 0.5, "confirmed": False}, False),
        ({"latency_ms": 1.0, "confirmed": False}, {"latency_ms": 2.0}, True),
        ({"latency_ms": 1.0, "driver": "580.1"}, {"latency_ms": 2.0}, True),
        ({"latency_ms": 1.0, "error_budget": 2.0}, {"latency_ms": 2.0}, True),
    ],
)
def test_winners_of_different_variants_compare(
    root: Path, put: Put, put_plainer: PutPlainer, old: Any, new: Any, stored: bool
) -> None:
    first = put(root, **old)
    was_stored, said, second = put_plainer(**new)
    assert (was_stored, said) == (stored, [])
    assert only(root).record == (second if stored else first)


def test_a_stale_winner_of_another_variant_does_not_stand_in_the_way(
    root: Path, put: Put, put_plainer: PutPlainer, tiny_folder: Path
) -> None:
    put(root, latency_ms=1.0)
    newer(tiny_folder)
    stored, said, second = put_plainer(latency_ms=2.0)
    assert (stored, said) == (True, [])
    assert only(root).record == second


def test_a_winner_of_a_variant_that_is_gone_does_not_stand_in_the_way(
    root: Path, put_plainer: PutPlainer, tiny: Template, make_record: MakeRecord
) -> None:
    put_plainer(latency_ms=1.0)
    new = make_record(latency_ms=2.0)
    assert store.put(root, new, text_of(tiny, new).text, template=tiny)  # it knows no plainer
    assert only(root).record == new


STEPS = [
    (os, "replace"),
    (os, "fsync"),
    (os, "open"),
    (pathlib.Path, "open"),
    (pathlib.Path, "unlink"),
    (pathlib.Path, "mkdir"),
]


def die_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Make this process die at the `step`-th call that touches the disk: even ones before it, odd ones after."""
    count = iter(range(10**6))

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(count) == step:
                os._exit(9)
            result = original(*arguments, **keywords)
            if next(count) == step:
                os._exit(9)
            return result

        return call

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))


@pytest.mark.parametrize("first", [None, 1.0], ids=["onto nothing", "onto an entry"])
def test_killed_at_any_step_there_is_the_old_entry_or_the_new(
    tmp_path: Path,
    put: Put,
    tiny: Template,
    make_record: MakeRecord,
    monkeypatch: pytest.MonkeyPatch,
    first: float | None,
) -> None:
    new = make_record(latency_ms=0.5, knobs={"unroll": 8})
    text, outcomes = text_of(tiny, new).text, []
    for step in range(1000):
        root = tmp_path / f"cache{step}"
        old = put(root, latency_ms=first) if first else None

        def killed(root: Path = root, step: int = step) -> None:
            die_at(monkeypatch, step)
            store.put(root, new, text)

        code = child(killed)
        found = store.get(root, HERE.slug, "tiny", new.workload.slug)
        record = found.record if found else None
        assert record in (old, new), f"step {step}"
        if found:
            assert store.load_checked(found, tiny) == text_of(tiny, found.record).text
        outcomes.append(record == new)

        store.sweep(root)
        after = store.entries(root)
        assert [entry.record for entry in after] == ([record] if record else [])
        assert [name.rsplit("/")[-1] for name in files_of(root)] == (["model_new.py", "record.json"] if record else [])
        assert store.put(root, new, text, replace=True), "the cache works on"
        assert only(root).record == new
        if code == 0:
            break
        assert code == 9
    assert outcomes == sorted(outcomes), "from one step on it is the new one"
    assert outcomes[0] is False
    assert outcomes[-2:] == [True, True], "also when killed at the last steps"
    assert len(outcomes) > 15


def test_killed_twice_the_first_new_entry_is_not_lost(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that finds a half-finished entry finishes it before it starts its own."""
    put(root, latency_ms=1.0)
    second, third = make_record(latency_ms=0.5, knobs={"unroll": 8}), make_record(latency_ms=0.4, knobs={"unroll": 1})
    folder = only(root).folder
    (folder / store.NEW_TEXT).write_text(text_of(tiny, second).text)  # as if killed between steps 2 and 3
    (folder / store.RECORD).write_bytes(sealed(second))
    assert only(root).record == second

    def killed() -> None:
        monkeypatch.setattr(files, "write", lambda *a: os._exit(9))
        store.put(root, third, text_of(tiny, third).text)

    assert child(killed) == 9
    assert only(root).record == second
    assert (folder / store.TEXT).read_text() == text_of(tiny, second).text


@pytest.mark.parametrize("limit", [1, 100, 4096])
def test_a_full_disk_is_one_line_and_the_old_entry_stays(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord, limit: int
) -> None:
    old = put(root, latency_ms=1.0)
    before = files_of(root)
    new = make_record(latency_ms=0.5)
    text = text_of(tiny, new).text
    assert len(text) > limit

    def on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(CacheError, match=r"cannot write the cache: File too large$"):
            store.put(root, new, text)

    assert child(on_a_full_disk) == 0
    assert only(root).record == old
    assert files_of(root) == before


def test_a_full_disk_leaves_nothing_where_nothing_was(root: Path, tiny: Template, make_record: MakeRecord) -> None:
    new = make_record()

    def on_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(CacheError):
            store.put(root, new, text_of(tiny, new).text)

    assert child(on_a_full_disk) == 0
    assert [p.name for p in root.iterdir()] == [store.LOCK]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_one_line(root: Path, put: Put) -> None:
    put(root)
    root.chmod(0o500)
    try:
        with pytest.raises(CacheError, match="cannot write the cache: Permission denied"):
            put(root, latency_ms=0.1)
    finally:
        root.chmod(0o700)


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path: Path, put: Put) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot write the cache: Not a directory$"):
        put(tmp_path / "file" / "cache")


def test_a_read_only_file_system_is_one_line_and_the_entry_can_be_read(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch, tiny: Template
) -> None:
    put(root)

    def refuse(*arguments: object, **keywords: object) -> NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CacheError, match=r"cannot write the cache: Read-only file system$"):
        put(root, latency_ms=0.1)
    assert store.load_checked(only(root), tiny)


def test_a_lock_that_is_never_released_is_one_line(root: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root)
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.05)
    with FileLock(root / store.LOCK), pytest.raises(CacheError, match="another process has held"):
        put(root, latency_ms=0.1)


def test_of_several_processes_the_fastest_result_stays(root: Path, tiny: Template, make_record: MakeRecord) -> None:
    records = [make_record(latency_ms=ms) for ms in (5.0, 3.0, 1.0, 2.0, 4.0)]
    pids = []
    for record in records:
        pid = os.fork()
        if pid == 0:
            store.put(root, record, text_of(tiny, record).text)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 5
    assert only(root).record.latency_ms == 1.0


def test_sweep_clears_what_no_record_names(root: Path, put: Put) -> None:
    put(root)
    folder = only(root).folder
    (folder / store.NEW_TEXT).write_text("half")
    (folder / store.NEW_RECORD).write_text("{")
    lost = folder.parent / "lost"
    lost.mkdir()
    (lost / store.NEW_TEXT).write_text("half")
    before = only(root)
    store.sweep(root)
    assert only(root) == before
    assert not lost.exists()
    assert sorted(p.name for p in folder.iterdir()) == ["model_new.py", "record.json"]


def test_sweep_of_a_cache_that_is_not_there_makes_none(root: Path) -> None:
    store.sweep(root)
    assert not root.exists()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_moved_aside_for_a_new_one_and_that_is_said(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord, damage: Damage
) -> None:
    put(root, latency_ms=1.0)
    folder = only(root).folder
    damage(folder)
    new = make_record(latency_ms=2.0)
    said: list[str] = []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert only(root).record == new
    (line,) = said
    assert line.startswith(f"{folder}: ") and "it is not used, and was moved to" in line and "\n" not in line
    assert len(list((root / ".quarantine").iterdir())) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_sweep_passes_over_a_damaged_entry(root: Path, put: Put, damage: Damage) -> None:
    put(root)
    put(root, shape=(5, 8))
    damaged, sound = store.folders(root)
    damage(damaged)
    (sound / store.NEW_TEXT).write_text("half")
    store.sweep(root)
    assert not (sound / store.NEW_TEXT).exists()
    assert len(store.scan(root)[1]) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_can_be_removed(root: Path, put: Put, damage: Damage) -> None:
    put(root)
    folder = only(root).folder
    damage(folder)
    store.remove(folder)
    assert [p.name for p in root.iterdir()] == [store.LOCK]


def test_an_altered_entry_does_not_keep_a_new_one_out(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord
) -> None:
    put(root, latency_ms=1.0)
    edit(only(root), lambda v: v["point"]["knobs"].update(unroll=8))
    new = make_record(latency_ms=2.0)
    said: list[str] = []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert only(root).record == new
    assert "is not what the template renders" in said[0]


@pytest.mark.parametrize("name", [store.NEW_TEXT, store.NEW_RECORD])
def test_a_folder_in_the_place_of_a_half_written_file_is_moved_aside(
    root: Path, put: Put, tiny: Template, make_record: MakeRecord, name: str
) -> None:
    put(root, latency_ms=1.0)
    (only(root).folder / name).mkdir()
    store.sweep(root)
    new = make_record(latency_ms=2.0)
    said: list[str] = []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert said and only(root).record == new
