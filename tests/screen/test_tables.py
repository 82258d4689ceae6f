"""Tables for a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from tuner.records import CaseResult, Correctness
from tuner.screen import tables


def test_cases_tell_which_is_wrong_and_by_how_much() -> None:
    found = (
        CaseResult(name="A", ok=True, error=1e-7, allowed=8e-7, reference_error=1.25e-7),
        CaseResult(name="[B]", ok=False, error=0.5, allowed=8e-7, detail="off by [much]"),
    )
    out = io.StringIO()
    Console(file=out, width=160).print(tables.cases(Correctness(cases=found, error_ratio=9.0, agrees_with_eager=False)))
    assert [line.split() for line in out.getvalue().splitlines()[1:]] == [
        ["ok", "A", "1e-07", "8e-07", "1.25e-07"],
        ["WRONG", "[B]", "0.5", "8e-07", "off", "by", "[much]"],
    ]
