"""What mattered, as a figure has it."""

from __future__ import annotations

from pathlib import Path

from helpers.searched import write_search

from tuner import results
from tuner.report.knobs import knobs


def test_the_most_important_knob_is_on_top(tmp_path: Path) -> None:
    section = knobs(results.of_ledger(write_search(tmp_path)))[0]
    (figure,) = section.figures
    shares = list(figure.traces[0]["x"])
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[-1]
    assert figure.layout["yaxis"]["autorange"] == "reversed"
    assert figure.layout["xaxis"]["range"] == [0, 1]
