"""What is written beside a ledger for reports."""

from __future__ import annotations

from pathlib import Path

from helpers.searching import ONE

from tuner.records import Stored
from tuner.search import outline


def test_refusals_say_which_constraint_refuses_a_choice() -> None:
    (branch,) = outline.branches_of(ONE)
    by_choice = {(each.knob, each.choice): each for each in branch.refusals}
    assert by_choice["a", 1].refused.keys() == {"not odd with 1"}
    assert by_choice["a", 16].refused.keys() == {"a*b<=64"}
    assert by_choice["a", 8].refused == {}
    assert all(sum(each.refused.values()) <= each.drawn for each in branch.refusals)


def test_the_same_space_has_the_same_outline() -> None:
    assert outline.branches_of(ONE) == outline.branches_of(ONE)


def test_a_final_comes_back_as_it_was_written(tmp_path: Path) -> None:
    point = ONE.defaults[0]
    written = outline.FinalOutline(
        winner=str(point), points={str(point): point}, times_ms={str(point): (1.0, 2.0)}, rounds=(2,)
    )
    ledger = tmp_path / "one.jsonl"
    outline.write(outline.final_path(ledger), written)
    assert outline.read_final(ledger) == written


def test_an_outline_that_is_gone_or_damaged_is_none(tmp_path: Path) -> None:
    ledger = tmp_path / "one.jsonl"
    assert outline.read_outline(ledger) is None
    outline.outline_path(ledger).write_text('{"template": 1')
    assert outline.read_outline(ledger) is None


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    outline.write(tmp_path / "value.json", Stored())
    assert [path.name for path in tmp_path.iterdir()] == ["value.json"]
