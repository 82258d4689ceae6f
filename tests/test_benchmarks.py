"""What the benchmarks name in the tree is there."""

from __future__ import annotations

from faults import ROWS, TESTS


def test_the_files_of_tests_that_are_counted_are_there() -> None:
    assert [name for names in ROWS.values() for name in names if not (TESTS / name).is_file()] == []
