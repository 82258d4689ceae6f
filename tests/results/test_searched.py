"""Which searches a path names."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.searched import write_search
from helpers.tiny import Put

from tuner import results, store
from tuner.errors import CacheError


def test_a_ledger_alone_is_enough(tmp_path: Path) -> None:
    path = write_search(tmp_path, 10)
    for beside in path.parent.glob("*.json"):
        beside.unlink()
    searched = results.of_ledger(path)
    assert len(searched.trials) == 10 and searched.outline is None and searched.template == "tiny"


def test_a_winner_alone_is_enough(tmp_path: Path, put: Put) -> None:
    record = put(tmp_path)
    (folder,) = store.folders(tmp_path)
    searched = results.of_entry(folder)
    assert searched.record == record and searched.trials == () and searched.text


def test_a_cache_has_its_searches_and_the_winners_without_one(tmp_path: Path, put: Put) -> None:
    put(tmp_path)
    write_search(tmp_path, 5)
    assert [bool(each.trials) for each in results.named([tmp_path])] == [True, False]


def test_a_ledger_without_a_trial_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".runs").mkdir()
    path = tmp_path / ".runs" / "tiny-1.jsonl"
    path.write_text("nothing\n")
    with pytest.raises(CacheError, match="holds no trial"):
        results.of_ledger(path)
