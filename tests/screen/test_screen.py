"""What a person sees: plain lines where there is no terminal, and the table at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import HERE, MakeRecord, changed
from rich.console import Console

from tuner.records import (
    CaseResult,
    Comparison,
    Correctness,
    Evaluation,
    Performance,
    Record,
    Status,
    TensorSpec,
    Trial,
    Workload,
)
from tuner.screen.screen import Screen
from tuner.search.progress import Budget, Progress
from tuner.search.tune import Outcome
from tuner.space import Branch, Knob, Point, Space

Shown = tuple[Screen, Callable[[], list[str]]]
LEDGER = Path("cache/.runs/study.jsonl")
WORKLOAD = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))
RIGHT = Correctness(cases=(CaseResult(name="A", ok=True),), error_ratio=1.0, agrees_with_eager=True)


def took(latency_ms: float) -> Performance:
    return Performance(latency_ms=latency_ms, q25_ms=latency_ms - 0.1, q75_ms=latency_ms + 0.1, samples=7)


def trial(number: int, status: Status = Status.OK, detail: str = "", latency_ms: float = 1.0) -> Trial:
    ok = status is Status.OK
    evaluation = Evaluation(
        status=status,
        detail=detail,
        correctness=RIGHT if ok else None,
        performance=took(latency_ms) if ok else None,
    )
    point = Point.of("plain", {"unroll": number})
    return Trial(number=number, point=point, candidate_sha256="0" * 64, evaluation=evaluation, finished="")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved on by a test."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def shown(clock: list[float]) -> Iterator[Shown]:
    """A screen on a console that is no terminal, and the lines shown since they were last asked for."""
    out = io.StringIO()
    made = Screen(Console(file=out, force_terminal=False, highlight=False, width=160), "tiny")

    def lines() -> list[str]:
        text = out.getvalue()
        out.seek(0)
        out.truncate()
        return text.splitlines()

    with made:
        yield made, lines


def progress_of(*trials: Trial, **more: Any) -> Progress:
    return Progress(Budget(10), list(trials), started=time.monotonic() - 60, **more)


# ---- while a search runs ---------------------------------------------------------------------------


def test_where_there_is_no_terminal_a_stage_is_a_plain_line(shown: Shown) -> None:
    on, lines = shown
    assert on.live is None
    on.stage("compiling [red]it[/red]")
    assert lines() == ["compiling [red]it[/red]"]


def test_a_line_is_never_wrapped(shown: Shown) -> None:
    on, lines = shown
    on.stage("word " * 200)
    assert len(lines()) == 1


def test_a_search_begins_with_what_is_tuned_and_where(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    knobs = (Knob("unroll", (1, 2, 4), 2), Knob("fast", (False, True), False))
    on.workload(make_record().workload, Space((Branch("plain", knobs),)), HERE)
    assert lines() == [
        "tiny  4x8 float32, precision match",
        "on Test CPU, PyTorch 2.9.1+cpu: plain (6 points)",
    ]


def test_progress_is_told_with_its_best_and_its_failures(shown: Shown) -> None:
    on, lines = shown
    on.eager(took(3.0))
    on.progress(progress_of(trial(1), trial(2, Status.VERIFY), trial(3, Status.CRASH), trial(4, Status.VERIFY)))
    first, line = lines()
    assert first == "eager takes 3 ms"
    for part in ("4/10 trials", "best 1 ms (3.00x eager)", "4/min", "failed: crash 1, verify 2", "[plain unroll=1]"):
        assert part in line
    assert line.split("  [")[0].endswith("1:30 left")


def test_the_rate_counts_no_trials_of_other_runs(shown: Shown) -> None:
    on, lines = shown
    on.progress(progress_of(trial(1), trial(2), trial(3), resumed=2))
    assert "3/10 trials" in (line := lines()[0]) and "1/min" in line


def test_progress_without_news_waits_for_silence(shown: Shown, clock: list[float]) -> None:
    on, lines = shown
    on.progress(progress_of(trial(1)))
    lines()
    on.progress(progress_of(trial(1), trial(2, latency_ms=2.0)))
    assert lines() == []
    clock[0] += 2
    on.pulse.look()
    (line,) = lines()
    assert "2/10 trials" in line and "unroll" not in line


def test_a_better_point_is_told_at_once(shown: Shown) -> None:
    on, lines = shown
    on.progress(progress_of(trial(1)))
    on.progress(progress_of(trial(1), trial(2, latency_ms=0.5)))
    assert "[plain unroll=2]" in lines()[-1]


# ---- the end of a search ---------------------------------------------------------------------------


def outcome(
    record: Record | None = None,
    trials: Sequence[Trial] = (),
    stored: bool = True,
    notes: Sequence[str] = (),
    **more: Any,
) -> Outcome:
    progress = progress_of(*trials, stopped="trials", **more)
    return Outcome(WORKLOAD, progress, record, stored, Path("cache/here") if record else None, list(notes), LEDGER)


def compared(name: str, latency_ms: float, speedup: float) -> Comparison:
    low, high = speedup - 0.25, speedup + 0.25
    return Comparison(name=name, performance=took(latency_ms), speedup=speedup, speedup_low=low, speedup_high=high)


def test_the_table_has_winner_runner_up_baselines_and_the_floor(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    baselines = (compared("eager", 4.0, 5.0), compared("compile", 2.0, 2.5))
    record = make_record(latency_ms=0.8)
    record = changed(record, baselines=baselines, runner_up=compared("runner-up", 0.9, 1.125))
    on.outcome(outcome(record, [trial(1)]))
    rows = [line.split() for line in lines()]
    assert [row[0] for row in rows[1:7]] == ["median", "winner", "runner-up", "eager", "compile", "floor"]
    assert rows[2] == ["winner", "0.8", "0.8", "to", "0.8", "9"]
    assert rows[3] == ["runner-up", "0.9", "0.8", "to", "1", "7", "1.125x", "0.875", "to", "1.375"]
    assert rows[4] == ["eager", "4", "3.9", "to", "4.1", "7", "5.000x", "4.750", "to", "5.250"]
    assert rows[5] == ["compile", "2", "1.9", "to", "2.1", "7", "2.500x", "2.250", "to", "2.750"]
    assert rows[6] == ["floor", "0.5", "(62%", "of", "the", "winner's", "time)", "memory"]


def test_a_winner_that_loses_to_a_baseline_is_said_to(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    baselines = (compared("eager", 4.0, 5.0), compared("compile", 0.4, 0.5), compared("max_autotune", 0.7, 0.9))
    on.outcome(outcome(changed(make_record(latency_ms=0.8), baselines=baselines)))
    assert "  note: the winner is slower than compile" in lines()


def test_the_table_leaves_out_what_was_not_measured(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    on.outcome(outcome(changed(make_record(), baselines=(), floor=None)))
    rows = [line.split()[0] for line in lines()]
    assert rows[1:4] == ["median", "winner", "knobs:"]


def test_a_floor_of_nothing_is_left_out(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    floor = make_record().floor
    assert floor is not None
    in_the_caches = changed(make_record(), baselines=(), floor=changed(floor, memory_ms=0.0, compute_ms=0.0))
    on.outcome(outcome(in_the_caches))
    assert "floor" not in [line.split()[0] for line in lines()]


def test_the_end_tells_how_it_came_about(shown: Shown, make_record: MakeRecord) -> None:
    on, lines = shown
    trials = [trial(1), trial(2), trial(3, Status.VERIFY)]
    on.outcome(outcome(make_record(), trials, notes=["it was loud"], resumed=1, rejected={"unroll<=C": 4}))
    assert lines()[:4] == [
        "took over 1 trials of other runs",
        "stopped: trials; 2 trials measured in 60 s; failed: verify 1",
        "  constraint unroll<=C rejected 4",
        "  note: it was loud",
    ]


@pytest.mark.parametrize(
    ("stored", "confirmed", "says"),
    [
        (True, True, "cached: cache/here"),
        (True, False, "cached, unconfirmed (the same search again goes on from here): cache/here"),
        (False, True, "not cached (a better result stands there): cache/here"),
    ],
)
def test_the_end_tells_what_became_of_the_winner(
    shown: Shown, make_record: MakeRecord, stored: bool, confirmed: bool, says: str
) -> None:
    on, lines = shown
    on.outcome(outcome(make_record(confirmed=confirmed), stored=stored))
    assert lines()[-2:] == ["knobs: plain unroll=4 order=rows fast=1 threads=1", says]


def test_no_right_kernel_lists_why(shown: Shown) -> None:
    """The commonest first; at most three."""
    on, lines = shown
    faults = [(Status.CRASH, "SIGSEGV")] * 2 + [(Status.VERIFY, "case A: off")] * 3
    faults += [(Status.COMPILE, "error: x")] * 4 + [(Status.LAUNCH, "seldom")]
    on.outcome(outcome(trials=[trial(i, *fault) for i, fault in enumerate(faults)]))
    assert lines()[1:] == [
        "  4 x compile: error: x",
        "  3 x verify: case A: off",
        "  2 x crash: SIGSEGV",
        "no right kernel was found; the ledger of trials has every log: cache/.runs/study.jsonl",
    ]


def test_a_stage_that_lasts_is_said_again_where_there_is_no_terminal(shown: Shown, clock: list[float]) -> None:
    screen, lines = shown
    screen.stage("computing the oracle")
    for _ in range(3):
        clock[0] += 2
        screen.pulse.look()
        screen.pulse.look()
    said = [f"  … {seconds} s: computing the oracle" for seconds in (2, 4, 6)]
    assert lines() == ["computing the oracle", *said]


def test_a_trial_that_lasts_is_said_with_its_number(shown: Shown, clock: list[float]) -> None:
    screen, lines = shown
    screen.progress(progress_of(trial(1)))
    lines()
    clock[0] += 3
    screen.pulse.look()
    assert lines() == ["  … 3 s: trial 2/10"]


def test_samples_of_the_final_are_said_after_silence(shown: Shown, clock: list[float]) -> None:
    screen, lines = shown
    screen.stage("final: sampling")
    for done in (1, 2, 3):
        screen.final(done, 100)
    clock[0] += 2
    screen.pulse.look()
    assert lines() == ["final: sampling", "final: 3/100 samples each"]
