"""Trials as rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from helpers.searched import write_search
from helpers.searching import TWO

from tuner.results import of_ledger, table


@pytest.fixture
def rows(tmp_path: Path) -> list[table.Row]:
    return table.rows([of_ledger(write_search(tmp_path, 20))])


def test_a_row_has_the_trials_knobs_phases_and_time(rows: list[table.Row]) -> None:
    row = rows[1]
    assert (row["knobs.a"], row["knobs.b"], row["knobs.mode"], row["knobs.off"]) == (1, 1, "slow", True)
    assert (row["compile_s"], row["verify_s"], row["benchmark_s"], row["wait_s"]) == (0.5, 0.25, 1.0, 0)
    assert row["latency_ms"] == 6.75 and row["status"] == "ok"


def test_a_trial_that_failed_has_no_time_but_its_reason(rows: list[table.Row]) -> None:
    assert (rows[7]["status"], rows[7]["latency_ms"], rows[7]["detail"]) == ("compile", None, "error: no")


def test_csv_is_read_back_row_by_row(rows: list[table.Row]) -> None:
    back = list(csv.DictReader(io.StringIO(table.as_csv(rows))))
    assert len(back) == 20 and float(back[1]["latency_ms"]) == 6.75 and back[7]["latency_ms"] == ""


def test_rows_of_several_searches_have_the_same_columns(tmp_path: Path) -> None:
    one = of_ledger(write_search(tmp_path, 3))
    other = of_ledger(write_search(tmp_path, 3, "tiny-4567", TWO))
    assert len({tuple(row) for row in table.rows([one, other])}) == 1


def test_parquet_is_read_back_with_types(rows: list[table.Row], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table.write_parquet(rows, tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows
