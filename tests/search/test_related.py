"""Ledgers of other searches that guide one: which are taken, and in which order."""

from __future__ import annotations

from pathlib import Path

from helpers.searched import WORKLOAD, write_search
from helpers.searching import ONE, TWO
from helpers.tiny import HERE

from tuner.search.outline import outline_path, read_outline, write
from tuner.search.related import LEAST, related
from tuner.space import Branch, Space


def test_the_likest_search_comes_first(tmp_path: Path) -> None:
    other = write_search(tmp_path, trials=20, name="tiny-a")
    write_search(tmp_path, trials=30, name="tiny-b")
    outline = read_outline(other)
    assert outline is not None
    newer = outline.environment.model_copy(update={"driver": "another"})
    write(outline_path(other), outline.model_copy(update={"environment": newer}))
    found = related(tmp_path / ".runs" / "tiny-own.jsonl", "tiny", WORKLOAD, HERE, ONE)
    assert [len(trials) for trials in found] == [30, 20]


def test_a_search_of_a_model_that_is_cast_is_further_from_one_that_is_not(tmp_path: Path) -> None:
    write_search(tmp_path, trials=30, name="tiny-b")
    cast = write_search(tmp_path, trials=20, name="tiny-a")
    outline = read_outline(cast)
    assert outline is not None
    write(outline_path(cast), outline.model_copy(update={"workload": WORKLOAD.in_dtype("float16")}))
    own = tmp_path / ".runs" / "tiny-own.jsonl"
    assert [len(trials) for trials in related(own, "tiny", WORKLOAD, HERE, ONE)] == [30, 20]
    assert [len(trials) for trials in related(own, "tiny", WORKLOAD.in_dtype("float16"), HERE, ONE)] == [20, 30]


def test_a_search_is_not_related_to_itself(tmp_path: Path) -> None:
    assert related(write_search(tmp_path), "tiny", WORKLOAD, HERE, ONE) == []


def test_another_template_and_a_ledger_without_outline_are_left_out(tmp_path: Path) -> None:
    own = tmp_path / ".runs" / "tiny-own.jsonl"
    outline_path(write_search(tmp_path, name="tiny-bare")).unlink()
    assert related(own, "tiny", WORKLOAD, HERE, ONE) == []
    write_search(tmp_path)
    assert related(own, "huge", WORKLOAD, HERE, ONE) == []
    assert related(own, "tiny", WORKLOAD, HERE.model_copy(update={"device_kind": "cuda"}), ONE) == []


def test_points_of_another_space_are_left_out(tmp_path: Path) -> None:
    write_search(tmp_path, space=TWO, trials=400)
    own = tmp_path / ".runs" / "tiny-own.jsonl"
    (trials,) = related(own, "tiny", WORKLOAD, HERE, ONE)
    assert {trial.point.variant for trial in trials} == {"one"}
    assert related(own, "tiny", WORKLOAD, HERE, Space((Branch("other", ONE.branches[0].knobs),))) == []


def test_a_ledger_of_a_few_points_says_too_little(tmp_path: Path) -> None:
    write_search(tmp_path, trials=LEAST - 1)
    assert related(tmp_path / ".runs" / "tiny-own.jsonl", "tiny", WORKLOAD, HERE, ONE) == []
