"""The cache: whole entries or none, nothing believed unchecked, misses that name the field."""

from __future__ import annotations

import json
import os
import pathlib
import resource
import threading
from dataclasses import replace

import pytest
from filelock import FileLock
from helpers.tiny import HERE, changed, text_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner import store, template
from tuner.errors import CacheError
from tuner.store import files as cache
from tuner.template import render


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def only(root):
    """The one entry of a cache."""
    (entry,) = store.entries(root)
    return entry


def files(root):
    """Everything in a cache but its lock, relative."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != store.LOCK)


def child(work) -> int:
    """Run `work` in a forked process; its exit status, 1 when it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- what is put is got ----


def test_an_entry_lies_under_device_template_and_workload(root, put):
    record = put(root)
    folder = f"cpu-test-cpu-2c/tiny/{record.workload.slug}"
    assert files(root) == [f"{folder}/model_new.py", f"{folder}/record.json"]


def test_what_was_put_is_got(root, put, tiny):
    record = put(root)
    entry = store.get(root, record.environment.slug, "tiny", record.workload.slug)
    assert entry.record == record
    assert store.load_checked(entry, tiny) == text_of(tiny, record).text == (entry.folder / "model_new.py").read_text()


def test_nothing_is_got_where_nothing_is(root, put):
    assert store.get(root, "a", "b", "c") is None
    assert store.entries(root) == []
    put(root)
    assert store.get(root, "cpu-test-cpu-2c", "tiny", "other") is None


def test_only_a_record_with_its_very_text_can_be_put(root, make_record):
    with pytest.raises(ValueError, match="the very text"):
        store.put(root, make_record(), "another text")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(root, name):
    for names in ((name, "t", "w"), ("e", name, "w"), ("e", "t", name)):
        with pytest.raises(CacheError, match="cannot name a folder"):
            store.get(root, *names)


def test_winners_are_those_of_one_device_and_template(root, put):
    put(root)
    put(root, shape=(5, 8))
    put(root, device_name="Other CPU")
    assert len(store.winners(root, "cpu-test-cpu-2c", "tiny")) == 2
    assert len(store.entries(root)) == 3


def test_remove_leaves_nothing(root, put):
    put(root)
    store.remove(only(root).folder)
    assert [p.name for p in root.iterdir()] == [store.LOCK]


def test_remove_keeps_the_neighbours(root, put):
    put(root)
    put(root, shape=(5, 8))
    store.remove(store.entries(root)[0].folder)
    assert len(store.entries(root)) == 1


# ---- which result stays ----


@pytest.mark.parametrize("second_ms", [1.0, 1.5])
def test_a_slower_or_equal_result_does_not_replace(root, put, tiny, make_record, second_ms):
    first = put(root, latency_ms=1.0)
    second = make_record(latency_ms=second_ms, knobs={"unroll": 8})
    assert store.put(root, second, text_of(tiny, second).text) is False
    assert only(root).record == first


def test_a_faster_result_replaces(root, put):
    put(root, latency_ms=1.0)
    second = put(root, latency_ms=0.9, knobs={"unroll": 8})
    assert only(root).record == second


def test_an_unconfirmed_result_never_replaces_a_confirmed_one(root, put):
    first = put(root, latency_ms=1.0)
    put(root, latency_ms=0.5, confirmed=False, knobs={"unroll": 8})
    assert only(root).record == first


def test_a_confirmed_result_replaces_an_unconfirmed_one(root, put):
    put(root, latency_ms=0.5, confirmed=False)
    second = put(root, latency_ms=1.0, knobs={"unroll": 8})
    assert only(root).record == second


def test_a_slower_result_replaces_when_asked(root, put):
    put(root, latency_ms=1.0)
    second = put(root, replace=True, latency_ms=2.0)
    assert only(root).record == second


@pytest.mark.parametrize(
    "changed", [{"driver": "580.1"}, {"toolkit": "gcc 13.1.0"}, {"torch": "2.10.0"}, {"error_budget": 2.0}]
)
def test_under_other_conditions_the_newest_wins(root, put, changed):
    put(root, latency_ms=1.0)
    second = put(root, latency_ms=2.0, **changed)
    assert only(root).record == second


def newer(tiny_folder):
    """Make another version of the template."""
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write("// newer\n")


def test_another_version_of_the_template_wins_over_the_older_one(root, put, tiny_folder):
    put(root, latency_ms=1.0)
    newer(tiny_folder)
    second = put(root, latency_ms=2.0)
    assert only(root).record == second


@pytest.fixture
def put_plainer(root, tiny_folder, make_record):
    """Store a winner of a second variant, the template at hand: whether it was stored, what was said, the record."""
    path = tiny_folder / "template.py"
    path.write_text(path.read_text() + "VARIANTS += (dataclasses.replace(VARIANTS[0], name='plainer'),)\n")
    path.write_text("import dataclasses\n" + path.read_text())
    (tiny_folder / "plainer.py").write_text(
        (tiny_folder / "plain.py").read_text().replace("def plain(", "def plainer(")
    )

    def put_plainer(**changes):
        kernel, said = template.load(tiny_folder), []
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
def test_winners_of_different_variants_compare(root, put, put_plainer, old, new, stored):
    first = put(root, **old)
    was_stored, said, second = put_plainer(**new)
    assert (was_stored, said) == (stored, [])
    assert only(root).record == (second if stored else first)


def test_a_stale_winner_of_another_variant_does_not_stand_in_the_way(root, put, put_plainer, tiny_folder):
    put(root, latency_ms=1.0)
    newer(tiny_folder)
    stored, said, second = put_plainer(latency_ms=2.0)
    assert (stored, said) == (True, [])
    assert only(root).record == second


def test_a_winner_of_a_variant_that_is_gone_does_not_stand_in_the_way(root, put_plainer, tiny, make_record):
    put_plainer(latency_ms=1.0)
    new = make_record(latency_ms=2.0)
    assert store.put(root, new, text_of(tiny, new).text, template=tiny)  # it knows no plainer
    assert only(root).record == new


# ---- killed, full, read-only ----

STEPS = [
    (os, "replace"),
    (os, "fsync"),
    (os, "open"),
    (pathlib.Path, "open"),
    (pathlib.Path, "unlink"),
    (pathlib.Path, "mkdir"),
]


def die_at(monkeypatch, step: int) -> None:
    """Make this process die at the `step`-th call that touches the disk: even ones before it, odd ones after."""
    count = iter(range(10**6))

    def wrapped(original):
        def call(*arguments, **keywords):
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
def test_killed_at_any_step_there_is_the_old_entry_or_the_new(tmp_path, put, tiny, make_record, monkeypatch, first):
    new = make_record(latency_ms=0.5, knobs={"unroll": 8})
    text, outcomes = text_of(tiny, new).text, []
    for step in range(1000):
        root = tmp_path / f"cache{step}"
        old = put(root, latency_ms=first) if first else None

        def killed(root=root, step=step):
            die_at(monkeypatch, step)
            store.put(root, new, text)

        code = child(killed)
        found = store.get(root, HERE.slug, "tiny", new.workload.slug)
        record = found.record if found else None
        assert record in (old, new), f"step {step}"
        if found:
            assert store.load_checked(found, tiny) == text_of(tiny, record).text
        outcomes.append(record == new)

        store.sweep(root)
        after = store.entries(root)
        assert [entry.record for entry in after] == ([record] if record else [])
        assert [name.rsplit("/")[-1] for name in files(root)] == (["model_new.py", "record.json"] if record else [])
        assert store.put(root, new, text, replace=True), "the cache works on"
        assert only(root).record == new
        if code == 0:
            break
        assert code == 9
    assert outcomes == sorted(outcomes), "from one step on it is the new one"
    assert outcomes[0] is False
    assert outcomes[-2:] == [True, True], "also when killed at the last steps"
    assert len(outcomes) > 15


def test_killed_twice_the_first_new_entry_is_not_lost(root, put, tiny, make_record, monkeypatch):
    """A writer that finds a half-finished entry finishes it before it starts its own."""
    put(root, latency_ms=1.0)
    second, third = make_record(latency_ms=0.5, knobs={"unroll": 8}), make_record(latency_ms=0.4, knobs={"unroll": 1})
    folder = only(root).folder
    (folder / store.NEW_TEXT).write_text(text_of(tiny, second).text)  # as if killed between steps 2 and 3
    (folder / store.RECORD).write_text(second.model_dump_json())
    assert only(root).record == second

    def killed():
        monkeypatch.setattr(cache, "write", lambda *a: os._exit(9))
        store.put(root, third, text_of(tiny, third).text)

    assert child(killed) == 9
    assert only(root).record == second
    assert (folder / store.TEXT).read_text() == text_of(tiny, second).text


@pytest.mark.parametrize("limit", [1, 100, 4096])
def test_a_full_disk_is_one_line_and_the_old_entry_stays(root, put, tiny, make_record, limit):
    old = put(root, latency_ms=1.0)
    before = files(root)
    new = make_record(latency_ms=0.5)
    text = text_of(tiny, new).text
    assert len(text) > limit

    def on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(CacheError, match=r"cannot write the cache: File too large$"):
            store.put(root, new, text)

    assert child(on_a_full_disk) == 0
    assert only(root).record == old
    assert files(root) == before


def test_a_full_disk_leaves_nothing_where_nothing_was(root, tiny, make_record):
    new = make_record()

    def on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(CacheError):
            store.put(root, new, text_of(tiny, new).text)

    assert child(on_a_full_disk) == 0
    assert [p.name for p in root.iterdir()] == [store.LOCK]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_one_line(root, put):
    put(root)
    root.chmod(0o500)
    try:
        with pytest.raises(CacheError, match="cannot write the cache: Permission denied"):
            put(root, latency_ms=0.1)
    finally:
        root.chmod(0o700)


def test_a_cache_that_cannot_be_made_is_one_line(tmp_path, put):
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot write the cache: Not a directory$"):
        put(tmp_path / "file" / "cache")


def test_a_read_only_file_system_is_one_line_and_the_entry_can_be_read(root, put, monkeypatch, tiny):
    put(root)

    def refuse(*arguments, **keywords):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CacheError, match=r"cannot write the cache: Read-only file system$"):
        put(root, latency_ms=0.1)
    assert store.load_checked(only(root), tiny)


def test_a_lock_that_is_never_released_is_one_line(root, put, monkeypatch):
    put(root)
    monkeypatch.setattr(cache, "LOCK_TIMEOUT_S", 0.05)
    with FileLock(root / store.LOCK), pytest.raises(CacheError, match="another process has held"):
        put(root, latency_ms=0.1)


def test_readers_never_see_a_torn_entry_while_writers_race(root, put, make_record, tiny, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    records = [make_record(knobs={"unroll": u}) for u in (1, 2, 4, 8)]
    texts = [text_of(tiny, record).text for record in records]
    store.put(root, records[0], texts[0])

    def write(start):
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


def test_of_several_processes_the_fastest_result_stays(root, tiny, make_record):
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


def test_sweep_clears_what_no_record_names(root, put):
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


def test_sweep_of_a_cache_that_is_not_there_makes_none(root):
    store.sweep(root)
    assert not root.exists()


# ---- damaged and altered ----


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    path.write_bytes(path.read_bytes().replace(b"def", b"dEf", 1))


DAMAGES = {
    "text cut": lambda f: cut(f / "model_new.py"),
    "text altered": lambda f: flip(f / "model_new.py"),
    "text gone": lambda f: (f / "model_new.py").unlink(),
    "text empty": lambda f: (f / "model_new.py").write_bytes(b""),
    "text is a folder": lambda f: ((f / "model_new.py").unlink(), (f / "model_new.py").mkdir()),
    "record cut": lambda f: cut(f / "record.json"),
    "record empty": lambda f: (f / "record.json").write_bytes(b""),
    "record not UTF-8": lambda f: (f / "record.json").write_bytes(b"\xff"),
    "record is a folder": lambda f: ((f / "record.json").unlink(), (f / "record.json").mkdir()),
    "record of another kind": lambda f: (f / "record.json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_goes_to_the_quarantine_and_is_said(root, put, damage):
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


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_moved_aside_for_a_new_one_and_that_is_said(root, put, tiny, make_record, damage):
    put(root, latency_ms=1.0)
    folder = only(root).folder
    damage(folder)
    new, said = make_record(latency_ms=2.0), []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert only(root).record == new
    (line,) = said
    assert line.startswith(f"{folder}: ") and "it is not used, and was moved to" in line and "\n" not in line
    assert len(list((root / ".quarantine").iterdir())) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_sweep_passes_over_a_damaged_entry(root, put, damage):
    put(root)
    put(root, shape=(5, 8))
    damaged, sound = store.folders(root)
    damage(damaged)
    (sound / store.NEW_TEXT).write_text("half")
    store.sweep(root)
    assert not (sound / store.NEW_TEXT).exists()
    assert len(store.scan(root)[1]) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_can_be_removed(root, put, damage):
    put(root)
    folder = only(root).folder
    damage(folder)
    store.remove(folder)
    assert [p.name for p in root.iterdir()] == [store.LOCK]


def edit(entry, change):
    """Alter a record on disk."""
    value = json.loads((entry.folder / store.RECORD).read_text())
    change(value)
    (entry.folder / store.RECORD).write_text(json.dumps(value))


def test_an_altered_entry_does_not_keep_a_new_one_out(root, put, tiny, make_record):
    put(root, latency_ms=1.0)
    edit(only(root), lambda v: v["point"]["knobs"].update(unroll=8))
    new, said = make_record(latency_ms=2.0), []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert only(root).record == new
    assert "is not what the template renders" in said[0]


@pytest.mark.parametrize("name", [store.NEW_TEXT, store.NEW_RECORD])
def test_a_folder_in_the_place_of_a_half_written_file_is_moved_aside(root, put, tiny, make_record, name):
    put(root, latency_ms=1.0)
    (only(root).folder / name).mkdir()
    store.sweep(root)
    new, said = make_record(latency_ms=2.0), []
    assert store.put(root, new, text_of(tiny, new).text, template=tiny, say=said.append)
    assert said and only(root).record == new


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
def test_an_altered_record_is_not_read(root, put, change):
    record = put(root)
    edit(only(root), change)
    with pytest.raises(store.CorruptEntry):
        store.get(root, record.environment.slug, "tiny", record.workload.slug)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["point"]["knobs"].update(unroll=8),
        lambda v: v["point"]["knobs"].update(unroll=3),
        lambda v: v["point"]["knobs"].update(fast=1),
        lambda v: v["point"]["knobs"].update(extra=1),
        lambda v: v["point"]["knobs"].pop("unroll"),
        lambda v: v["point"]["knobs"].update(order="rows\n#error"),
    ],
)
def test_a_record_with_other_knobs_is_moved_away_before_its_text_is_used(root, put, tiny, change):
    put(root)
    edit(only(root), change)
    entry = only(root)
    with pytest.raises(store.CorruptEntry, match="moved to"):
        store.load_checked(entry, tiny)
    assert store.entries(root) == []


def test_text_and_record_altered_together_do_not_get_through(root, put, tiny):
    put(root)
    entry = only(root)
    evil = entry.text + "import os\n"
    (entry.folder / store.TEXT).write_text(evil)
    edit(entry, lambda v: v.update(candidate_sha256=render.Candidate(evil).sha256))
    with pytest.raises(store.CorruptEntry, match="is not what the template renders"):
        store.load_checked(only(root), tiny)


def test_a_device_name_cannot_carry_code_into_the_text(root, make_record, tiny):
    """The name stands in the candidate's docstring; its slug hides what else it holds."""
    record = make_record(device_name='Test CPU"""\nprint()\n"""')
    text = text_of(tiny, record).text
    store.put(root, changed(record, candidate_sha256=render.Candidate(text).sha256), text)
    with pytest.raises(store.CorruptEntry, match="device_name is not a device's name"):
        store.load_checked(only(root), tiny)


def test_a_changed_template_is_a_miss_that_names_the_digest_and_moves_nothing(root, put, tiny, tiny_folder):
    put(root)
    newer(tiny_folder)
    with pytest.raises(store.StaleEntry, match="template_digest differs"):
        store.load_checked(only(root), tiny)
    assert len(store.entries(root)) == 1


def test_an_entry_replaced_meanwhile_is_not_moved(root, put, tiny):
    put(root)
    edit(only(root), lambda v: v["point"]["knobs"].update(unroll=8))
    altered = only(root)
    good = put(root, replace=True, latency_ms=0.5)
    with pytest.raises(store.CorruptEntry, match="replaced meanwhile"):
        store.load_checked(altered, tiny)
    assert only(root).record == good


def test_where_it_cannot_be_moved_it_is_not_used_either(root, put, tiny, monkeypatch):
    record = put(root)
    cut(only(root).folder / "model_new.py")

    def refuse(*arguments, **keywords):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(store.CorruptEntry, match=r"could not be moved aside: .*Read-only file system"):
        store.get(root, record.environment.slug, "tiny", record.workload.slug)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_any_byte_altered_in_an_entry_is_noticed_or_harmless(tmp_path_factory, put, tiny, data):
    root = tmp_path_factory.mktemp("fuzz") / "cache"
    record = put(root)
    path = only(root).folder / data.draw(st.sampled_from(["record.json", "model_new.py"]))
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        entry = store.get(root, record.environment.slug, "tiny", record.workload.slug)
        text = store.load_checked(entry, tiny)
    except CacheError as error:
        text = None
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert text in (None, text_of(tiny, record).text)


# ---- misses ----


@pytest.fixture
def explain(root, tiny):
    """Reasons that `why` gives for a record's workload on its device, changed."""

    def explain(record, problem_sha256="0" * 64, **environment):
        here = changed(record.environment, **environment)
        return [answer.reason for answer in store.why(root, tiny, record.workload, here, problem_sha256)]

    return explain


def test_why_has_nothing_to_say_of_a_hit(root, put, explain):
    assert explain(put(root)) == [""]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"driver": "580.1"}, "driver: cached none, here 580.1"),
        ({"toolkit": "gcc 13.1.0"}, "toolkit: cached gcc 12.2.0, here gcc 13.1.0"),
        ({"torch": "2.10.0"}, "torch: cached 2.9.1, here 2.10.0"),
        ({"device_name": "B"}, "device_name: cached Test CPU, here B"),
        ({"cores": 4}, "cores: cached 2, here 4"),
        ({"capability": (9, 0)}, "capability: cached 0.0, here 9.0"),
        ({"problem_sha256": "f" * 64}, "problem: cached 000000000000, here ffffffffffff"),
    ],
)
def test_why_names_the_field_of_the_environment(root, put, explain, changed, said):
    assert explain(put(root), **changed) == [said]


@pytest.mark.parametrize(
    "changed", [{"torch": "2.9.1+cu130"}, {"python": "3.13.0"}, {"tuner": "9"}, {"memory_bytes": 1}]
)
def test_some_fields_are_recorded_and_no_cause_of_a_miss(root, put, explain, changed):
    assert explain(put(root), **changed) == [""]


def test_why_names_the_template_version(root, put, tiny, tiny_folder, explain):
    record = put(root)
    newer(tiny_folder)
    now = render.digest(tiny, tiny.variant("plain"))
    assert explain(record) == [f"template_digest: cached {record.template_digest[:12]}, here {now[:12]}"]


def test_why_says_that_a_search_was_interrupted(root, put, explain):
    assert explain(put(root, confirmed=False)) == [store.UNCONFIRMED]


def test_why_names_the_workload_and_lists_the_nearest_first(root, put, make_record, explain):
    put(root, shape=(5, 8), driver="580.1")
    put(root, shape=(6, 8))
    assert explain(make_record()) == [
        "shapes: cached 6x8, here 4x8",
        "shapes: cached 5x8, here 4x8; driver: cached 580.1, here none",
    ]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_why_lists_a_damaged_entry_and_moves_nothing(root, put, explain, damage):
    record = put(root)
    put(root, shape=(5, 8))
    damage(store.folders(root)[0])
    before = files(root)
    damaged, other = explain(record)
    assert damaged.startswith(("model_new.py: ", "record.json: "))
    assert other == "shapes: cached 5x8, here 4x8"
    assert files(root) == before


@pytest.mark.parametrize("knobs", [{"unroll": 8}, {"unroll": 3}, {"extra": 1}])
def test_why_does_not_call_an_entry_a_hit_that_would_be_refused(root, put, explain, knobs):
    record = put(root)
    edit(only(root), lambda v: v["point"]["knobs"].update(knobs))
    before = files(root)
    (reason,) = explain(record)
    assert reason
    assert files(root) == before


def test_why_of_an_empty_cache_is_nothing(make_record, explain):
    assert explain(make_record()) == []
