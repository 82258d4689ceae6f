"""What is said of an exception of somebody else's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner.errors import ProblemError, line_of, named_as


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two\tthree\n"), "ValueError: one two three"),
        (ValueError(), "ValueError"),
        (Unreadable(), "Unreadable: its message cannot be read"),
    ],
)
def test_an_exception_is_one_line(error: BaseException, line: str) -> None:
    assert line_of(error) == line


def test_a_fault_names_the_file_that_was_given() -> None:
    with pytest.raises(ProblemError, match=r"^mine\.py:3: is wrong$"), named_as(Path("/a/copy.py"), Path("mine.py")):
        raise ProblemError("/a/copy.py:3: is wrong")
