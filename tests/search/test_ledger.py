"""The ledger: whole lines, whoever writes at once and whenever someone is killed."""

from __future__ import annotations

import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from helpers.tiny import changed

from tuner.errors import CacheError
from tuner.records import CaseResult, Correctness, Evaluation, Performance, Status, Trial
from tuner.search.ledger import Ledger
from tuner.space import Point


def trial(number: int, log: str = "") -> Trial:
    return Trial(
        number=number,
        point=Point.of("plain", {"unroll": number, "fast": True, "order": "rows"}),
        candidate_sha256="0" * 64,
        evaluation=Evaluation(status=Status.COMPILE, detail="no", log=log),
        finished="2026-01-02T03:04:05.678+00:00",
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs" / "study.jsonl")


def test_what_is_appended_is_read_in_order(ledger: Ledger) -> None:
    assert ledger.read() == ledger.news() == []
    written = [trial(i, log="two\nlines, ümlaut") for i in range(3)]
    for one in written:
        ledger.append(one)
    assert ledger.read() == written
    assert len(ledger.path.read_text().splitlines()) == 3


def test_kinds_of_knob_values_survive(ledger: Ledger) -> None:
    ledger.append(trial(1))
    (back,) = ledger.read()
    assert [type(value) for value in back.point.knobs.values()] == [int, bool, str]


def test_a_trial_with_all_its_parts_survives(ledger: Ledger) -> None:
    case = CaseResult(name="A", ok=True, error=1e-7, allowed=8e-7, reference_error=1e-7)
    evaluation = Evaluation(
        status=Status.OK,
        correctness=Correctness(cases=(case,), error_ratio=1.0, agrees_with_eager=False),
        performance=Performance(latency_ms=1.0, q25_ms=0.9, q75_ms=1.1, samples=10),
    )
    whole = changed(trial(1), evaluation=evaluation)
    ledger.append(whole)
    assert ledger.read() == [whole]


@pytest.mark.parametrize("keep", [0, 1, 40, -2, -1])
def test_a_line_cut_short_is_left_out_and_costs_no_other(ledger: Ledger, keep: int) -> None:
    ledger.append(trial(1))
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + whole[:keep])
    ledger.append(trial(2))
    numbers = [t.number for t in ledger.read()]
    assert numbers == ([1, 1, 2] if keep == -1 else [1, 2])


@pytest.mark.parametrize("line", [b"{}", b"\xff\xfe", b"[" * 10_000, b"null", b"\x00" * 100, b"", b"\r", b"\x0b\x85"])
def test_a_line_that_is_no_trial_is_left_out(ledger: Ledger, line: bytes) -> None:
    ledger.append(trial(1))
    with ledger.path.open("ab") as file:
        file.write(line + b"\n")
    ledger.append(trial(2))
    assert [t.number for t in ledger.read()] == [1, 2]


def test_news_are_told_once(ledger: Ledger) -> None:
    other = Ledger(ledger.path)
    ledger.append(trial(1))
    assert [t.number for t in other.news()] == [1]
    assert other.news() == []
    ledger.append(trial(2))
    ledger.append(trial(3))
    assert [t.number for t in other.news()] == [2, 3]


def test_news_wait_for_the_whole_line(ledger: Ledger) -> None:
    ledger.append(trial(1))
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + whole[:40])
    assert [t.number for t in ledger.news()] == [1]
    ledger.path.write_bytes(whole + whole)
    assert [t.number for t in ledger.news()] == [1]


def append_many(path: Path, first: int) -> None:
    for number in range(first, first + 50):
        Ledger(path).append(trial(number, log="x" * 8000))


def test_four_processes_append_at_once(ledger: Ledger) -> None:
    ledger.path.parent.mkdir()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(ledger.path, 50 * i)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(t.number for t in ledger.read()) == list(range(200))


def test_a_full_disk_is_said_and_the_lines_before_are_kept(ledger: Ledger) -> None:
    ledger.append(trial(1))
    size = ledger.path.stat().st_size
    pid = os.fork()
    if pid == 0:  # the limit of a file's size acts like a full disk: the write is cut short
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, size + 100))
            ledger.append(trial(2))
        except CacheError as error:
            code = 0 if "cannot write the ledger of trials: No space left" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ledger.path.stat().st_size == size + 100
    ledger.append(trial(3))
    assert [t.number for t in ledger.read()] == [1, 3]


def test_a_ledger_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot write the ledger"):
        Ledger(tmp_path / "file" / "study.jsonl").append(trial(1))
    (tmp_path / "folder").mkdir()
    with pytest.raises(CacheError, match="cannot read the ledger"):
        Ledger(tmp_path / "folder").read()
