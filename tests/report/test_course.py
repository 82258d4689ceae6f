"""Seconds of searching, and the lanes of a timeline."""

from __future__ import annotations

from pathlib import Path

from helpers.searched import BEGAN, write_search

from tuner import results
from tuner.report import course
from tuner.search.outline import outline_path, read_outline, write


def test_pauses_between_runs_are_left_out(tmp_path: Path) -> None:
    path = write_search(tmp_path, 10)
    outline = read_outline(path)
    assert outline is not None
    write(outline_path(path), outline.model_copy(update={"started": (BEGAN - 100, BEGAN + 9)}))
    at = course.clock(results.of_ledger(path))
    assert at(BEGAN - 100) == 0
    last_of_first = 107  # the ledger of the helper has whole seconds
    assert at(BEGAN + 9) == last_of_first
    assert at(BEGAN + 10) == last_of_first + 1


def test_two_that_compile_at_once_have_lanes_of_their_own() -> None:
    assert course.lanes([(0, 2), (1, 3), (2.5, 4)]) == {0: 0, 1: 1, 2.5: 0}
