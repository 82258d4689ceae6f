"""What is said of an exception of somebody else's code."""

from __future__ import annotations

import pytest

from tuner.errors import line_of


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
