"""Where entries lie, and what is no part of a cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from helpers.cache import files_of
from helpers.tiny import HERE, MakeRecord, Put, text_of

from tuner import store
from tuner.errors import CacheError
from tuner.template import Template


def test_an_entry_lies_under_device_template_and_workload(root: Path, put: Put) -> None:
    record = put(root)
    folder = f"cpu-test-cpu-2c/tiny/{record.workload.slug}"
    assert files_of(root) == [f"{folder}/model_new.py", f"{folder}/record.json"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(root: Path, name: str) -> None:
    for names in ((name, "t", "w"), ("e", name, "w"), ("e", "t", name)):
        with pytest.raises(CacheError, match="cannot name a folder"):
            store.get(root, *names)


@pytest.fixture
def linked(root: Path, put: Put, tmp_path: Path) -> Path:
    """The folder outside that the cache's folder of a device is a link to; an entry lies in it."""
    outside = tmp_path / "outside"
    put(root)
    (root / "cpu-test-cpu-2c").rename(outside)
    (root / "cpu-test-cpu-2c").symlink_to(outside)
    return outside


def test_a_link_in_a_cache_is_not_followed(root: Path, linked: Path, tiny: Template, make_record: MakeRecord) -> None:
    record = make_record()
    before = files_of(linked)
    assert store.folders(root) == []
    assert store.get(root, HERE.slug, "tiny", record.workload.slug) is None
    (linked / "tiny" / record.workload.slug / store.NEW_TEXT).write_text("half")
    store.sweep(root)
    for write in (
        lambda: store.put(root, record, text_of(tiny, record).text, replace=True),
        lambda: store.remove(store.folder_of(root, HERE.slug, "tiny", record.workload.slug)),
    ):
        with pytest.raises(CacheError, match=r"cpu-test-cpu-2c: is a symbolic link, and the cache follows none"):
            write()
    (linked / "tiny" / record.workload.slug / store.NEW_TEXT).unlink()
    assert files_of(linked) == before


def test_a_cache_that_is_itself_a_link_is_one(root: Path, put: Put, tmp_path: Path) -> None:
    put(root)
    (tmp_path / "link").symlink_to(root)
    assert len(store.entries(tmp_path / "link")) == 1


def test_a_folder_that_may_not_be_read_is_said(root: Path, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root)
    scandir, closed = os.scandir, root / HERE.slug

    def refuse(path: Path) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CacheError, match=rf"^{closed}: the cache cannot be read: Permission denied$"):
        store.scan(root)


def test_a_record_that_may_not_be_read_is_said_and_not_moved(
    root: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(root)
    (folder,) = store.folders(root)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CacheError, match=r"record\.json: the cache cannot be read: Permission denied$"):
        store.get(root, HERE.slug, "tiny", record.workload.slug)
    assert folder.is_dir()


def test_a_cache_whose_name_looks_like_a_pattern_is_read(tmp_path: Path, put: Put) -> None:
    root = tmp_path / "what?[a]*" / "cache"
    put(root)
    assert len(store.entries(root)) == 1
    store.remove(store.folders(root)[0])
    assert store.entries(root) == []
