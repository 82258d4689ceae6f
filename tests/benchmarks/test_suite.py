"""benchmarks/suite.py: rows from what the commands print, what becomes of those that go wrong, resuming, the table."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import suite_table
import suite_warm
from helpers.tiny import MakeRecord, changed
from suite import Suite, done, named, problems_of
from suite_steps import Options, Row, Running, attempt, phases

from tuner.records import Evaluation, Status, Trial

# What stands in for `tuner`: it does what the problem's first line says, and counts its calls beside the problem.
STAND_IN = """
import json, os, pathlib, signal, sys, time
command, argument = sys.argv[1:3]
problem = pathlib.Path(argument if command != "verify" else sys.argv[sys.argv.index("--problem") + 1])
here, what = pathlib.Path(__file__).parent, problem.read_text().splitlines()[0].removeprefix("# ")
with (here / "calls").open("a") as calls:
    calls.write(f"{command} {problem.stem}\\n")
def say(text): print(text, file=sys.stderr, flush=True)
if "--device" in sys.argv:
    with (here / "devices").open("a") as file:
        file.write(sys.argv[sys.argv.index("--device") + 1] + "\\n")
if command == "export":
    pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text("submission")
    sys.exit(0)
if command == "verify":
    word = "wrong" if what == "wrong" else "right"
    print(json.dumps({"verdict": word, "ok": word == "right", "reason": "", "error_ratio": 2.5, "agrees_with_eager":
                      False, "cases": [{"name": "A plain", "ok": word == "right", "detail": "off by one"}]}))
    sys.exit(word != "right")
if what == "hangs":
    signal.signal(signal.SIGTERM, lambda *_: (say("leaving"), sys.exit(143)))
    say("searching")
    time.sleep(600)
if what == "crashes":
    os.kill(os.getpid(), signal.SIGSEGV)
if what == "refused":
    say(f"tuner: {problem}: Model.forward is random: dropout")
    sys.exit(2)
if what == "device":
    say("tuner: cuda:0: the reference could not be run")
    sys.exit(2)
if what == "nothing":
    say("stopped: time; 2 trials measured in 3 s; failed: verify 2")
    say("  2 x verify: case A: off")
    say("no right kernel was found; the ledger of trials has every log: there")
    print(json.dumps([{"record": None}]))
    sys.exit(1)
say("starting the measuring process")
say("searching")
runs = pathlib.Path(os.environ["TUNER_CACHE_DIR"]) / ".runs"
runs.mkdir(parents=True, exist_ok=True)
(runs / "study.jsonl").write_text((here / "ledger").read_text())
say("final: 1 finalists and eager")
print((here / "result").read_text())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "some"
    folder.mkdir()
    return folder


@pytest.fixture
def running(tmp_path: Path, make_record: MakeRecord) -> Running:
    (tmp_path / "tuner.py").write_text(STAND_IN)
    result = {"record": make_record(latency_ms=0.5).model_dump(mode="json"), "kernels": ["one", "two"]}
    (tmp_path / "result").write_text(json.dumps([result]))
    trial = Trial(
        number=0,
        point=make_record().point,
        candidate_sha256="",
        evaluation=make_record(latency_ms=0.5).evaluation,
        finished="2100-01-01T00:00:00.000+00:00",
    )
    failed = changed(trial, evaluation=Evaluation(status=Status.VERIFY, detail="off"))
    (tmp_path / "ledger").write_text(f"{failed.model_dump_json()}\n{trial.model_dump_json()}\n")
    return Running(tuner=(sys.executable, str(tmp_path / "tuner.py")))


def problem(folder: Path, name: str, what: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(f"# {what}\ndef get_inputs(): ...\n")
    return path


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def tried(path: Path, running: Running, tmp_path: Path, **options: Any) -> Row:
    return attempt(path, path.stem, Options(**options), tmp_path / "work" / path.stem, running)


# ---- one problem -------------------------------------------------------------------------------------


def test_a_row_has_the_figures_of_the_record_the_ledger_and_the_verdict(
    folder: Path, running: Running, tmp_path: Path
) -> None:
    row = tried(problem(folder, "1_right", "right"), running, tmp_path)
    assert (row["status"], row["reason"], row["class"], row["kernels"]) == ("right", "", "match", 2)
    assert (row["ours_ms"], row["floor_ms"], row["trials"]) == (0.5, 0.5, {"verify": 1, "ok": 1})
    assert row["baselines"]["eager"] == {"ms": 2.0, "speedup": 2.0, "low": 1.9, "high": 2.1}
    assert (row["error_ratio"], row["agrees"]) == (2.5, False)  # the verdict's: it is the worse one
    assert row["near_best_s"] > 1e6  # of the trial that is right, in 2100
    assert {"drafting", "starting", "search", "export", "verify"} <= set(row["seconds"])
    assert calls(tmp_path) == ["search 1_right", "export 1_right", "verify 1_right"]


def test_without_export_the_search_is_all(folder: Path, running: Running, tmp_path: Path) -> None:
    assert tried(problem(folder, "1_right", "right"), running, tmp_path, export=False)["status"] == "right"
    assert calls(tmp_path) == ["search 1_right"]


@pytest.mark.parametrize(
    ("what", "status", "reason"),
    [
        ("refused", "refused", "Model.forward is random: dropout"),
        ("device", "failed", "search: cuda:0: the reference could not be run"),
        ("nothing", "failed", "search: no right kernel: 2 x verify: case A: off"),
        ("crashes", "failed", "search: ended by signal 11; "),
        ("wrong", "failed", "wrong: case A plain: off by one"),
    ],
)
def test_what_goes_wrong_is_in_the_row(
    what: str, status: str, reason: str, folder: Path, running: Running, tmp_path: Path
) -> None:
    row = tried(problem(folder, "1_bad", what), running, tmp_path)
    assert (row["status"], row["reason"]) == (status, reason)


def test_a_problem_that_hangs_is_ended_at_its_limit(folder: Path, running: Running, tmp_path: Path) -> None:
    began = time.monotonic()
    row = tried(problem(folder, "1_hangs", "hangs"), running, tmp_path, time_limit_s=1.0)
    assert row["status"] == "timeout" and "in search" in row["reason"]
    assert time.monotonic() - began < 30
    assert not running.processes
    assert "leaving" in (tmp_path / "work" / "1_hangs" / "search.log").read_text()  # it could end in order


def test_phases_end_where_the_next_begins(folder: Path, running: Running, tmp_path: Path) -> None:
    ended = running.command(["search", str(problem(folder, "1_right", "right"))], time.monotonic() + 60, tmp_path)
    found = phases(ended)
    assert list(found) == ["drafting", "starting", "search", "baselines"]  # what it printed no more
    assert sum(found.values()) == pytest.approx(ended.seconds)


# ---- a folder of them --------------------------------------------------------------------------------


def suite(folder: Path, tmp_path: Path, running: Running, **options: Any) -> Suite:
    wanted = Options(export=False, **options)
    return Suite(problems_of(folder), wanted, tmp_path / "out" / "table", tmp_path / "work", running)


def rows_of(made: Suite, **how: Any) -> list[Row]:
    made.run(list(made.problems), **how)
    return made.in_order()


def test_one_that_goes_wrong_leaves_the_others(folder: Path, running: Running, tmp_path: Path) -> None:
    for number, what in enumerate(("crashes", "right", "refused")):
        problem(folder, f"{number}_{what}", what)
    rows = rows_of(suite(folder, tmp_path, running), jobs=2)
    assert [row["status"] for row in rows] == ["failed", "right", "refused"]
    assert "some/1_right" in (tmp_path / "out" / "table.md").read_text()
    assert len(json.loads((tmp_path / "out" / "table.json").read_text())["rows"]) == 3


def test_several_devices_have_one_problem_each(folder: Path, running: Running, tmp_path: Path) -> None:
    for number in range(3):
        problem(folder, f"{number}_right", "right")
    made = suite(folder, tmp_path, running, device="cuda:0,cuda:1")
    rows = rows_of(made)
    assert [row["options"]["device"] for row in rows] == ["cuda:0,cuda:1"] * 3
    assert set((tmp_path / "devices").read_text().split()) == {"cuda:0", "cuda:1"}
    assert not made.run(list(made.problems))


def test_the_same_again_makes_what_is_left(folder: Path, running: Running, tmp_path: Path) -> None:
    problem(folder, "1_right", "right")
    rows_of(suite(folder, tmp_path, running))
    problem(folder, "2_right", "right")
    lines = tmp_path / "out" / "table.jsonl"
    lines.write_text(lines.read_text() + '{"problem": "some/2_right", "stat')  # killed while it wrote
    rows = rows_of(suite(folder, tmp_path, running))
    assert [row["problem"] for row in rows] == ["some/1_right", "some/2_right"]
    assert calls(tmp_path) == ["search 1_right", "search 2_right"]
    assert len(done(lines, problems_of(folder), Options(export=False))) == 2


@pytest.mark.parametrize("change", ["file", "options", "again"])
def test_what_changed_or_is_wanted_again_is_made_anew(
    change: str, folder: Path, running: Running, tmp_path: Path
) -> None:
    path = problem(folder, "1_right", "right")
    rows_of(suite(folder, tmp_path, running))
    if change == "file":
        path.write_text(path.read_text() + "# another\n")
    other = suite(folder, tmp_path, running, seconds_each=5 if change == "options" else 20)
    assert len(rows_of(other, again=["right"] if change == "again" else ())) == 1
    assert len(calls(tmp_path)) == 2


def test_none_begins_after_the_time_is_up(folder: Path, running: Running, tmp_path: Path) -> None:
    problem(folder, "1_right", "right")
    assert suite(folder, tmp_path, running).run(["some/1_right"], stop_after_s=-1.0) == ["some/1_right"]
    assert not (tmp_path / "calls").exists()


def test_what_was_under_way_when_the_suite_was_ended_is_left(folder: Path, running: Running, tmp_path: Path) -> None:
    problem(folder, "1_hangs", "hangs")
    problem(folder, "2_right", "right")
    made = suite(folder, tmp_path, running)
    threading.Timer(1.0, running.end).start()
    assert made.run(list(made.problems)) == ["some/1_hangs", "some/2_right"]
    assert not made.lines.exists() and calls(tmp_path) == ["search 1_hangs"]


def test_the_table_keeps_the_rows_that_were_not_wanted_now(folder: Path, running: Running, tmp_path: Path) -> None:
    for number in (1, 2):
        problem(folder, f"{number}_right", "right")
        suite(folder, tmp_path, running).run([f"some/{number}_right"])
    assert len(json.loads((tmp_path / "out" / "table.json").read_text())["rows"]) == 2


def test_problems_are_found_by_number_level_and_name(tmp_path: Path) -> None:
    for name in ("level1/2_sum", "level2/10_conv_sum", "level2/2_conv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text("def get_inputs(): ...")
    (tmp_path / "helper.py").write_text("no problem")
    names = list(problems_of(tmp_path))
    assert names == ["level1/2_sum", "level2/2_conv", "level2/10_conv_sum"]
    assert named(names, ["2"]) == ["level1/2_sum", "level2/2_conv"]
    assert named(names, ["level2/2"]) == ["level2/2_conv"]
    assert named(names, ["sum", "level2/2"]) == names
    assert named(names, []) == names


# ---- the table ---------------------------------------------------------------------------------------


def row(name: str, eager: float, compiled: float, near_s: float = 1.0, **more: Any) -> Row:
    """A right row whose kernel takes 1 ms."""
    baselines = {
        way: {"ms": ms, "speedup": ms, "low": 0.9 * ms, "high": 1.1 * ms}
        for way, ms in (("eager", eager), ("compile_benchmark", compiled))
    }
    seconds = {"drafting": 3.0, "search": 20.0}
    found: Row = {"problem": name, "status": "right", "reason": "", "class": "match", "kernels": 2, "leaves": []}
    return found | {"baselines": baselines, "ours_ms": 1.0, "floor_ms": 0.5, "error_ratio": 1.0, "agrees": True,
                    "near_best_s": near_s, "seconds": seconds, "device": "D", "torch": "2"} | more  # fmt: skip


REFUSED: Row = {"problem": "3_dropout", "status": "refused", "reason": "a|b", "seconds": {"drafting": 1.0}}


def test_the_summary_is_over_what_is_right() -> None:
    rows = [row("1_gemm", 4.0, 2.0), row("2_conv", 1.0, 1.05, near_s=50.0, agrees=False), REFUSED]
    found = suite_table.summary(rows)
    assert found["statuses"] == {"right": 2, "refused": 1}
    assert found["over_eager"] == pytest.approx(2.0)
    assert found["over_strongest"] == pytest.approx(2.0**0.5)  # eager is the stronger for the second
    assert found["matrix_products_over_strongest"] == pytest.approx(2.0)
    assert (found["faster_than_strongest"], found["compared"], found["agrees"]) == (1, 2, 1)
    assert (found["near_best_soon"], found["near_best_s"]) == (1, {"median": 25.5, "largest": 50.0})


def test_the_table_has_a_line_for_each_problem_and_the_baselines_that_were_run() -> None:
    text = suite_table.markdown([row("1_gemm", 4.0, 2.0, leaves=["mm"]), REFUSED])
    heading, _, first, second = [line for line in text.splitlines() if line.startswith("|")]
    assert "compile + benchmark, ms" in heading and "max-autotune" not in heading
    assert "| mm | 1 | 4 | 2 | 0.5 | 4.00 [3.60, 4.40] | 2.00 [1.80, 2.20] | 1.00 | yes |" in first
    assert second.startswith("| 3_dropout | refused: a\\|b | - |")
    assert heading.count("|") == first.count("|") == second.replace("\\|", "").count("|")


def test_a_table_of_nothing_right_says_so() -> None:
    assert "1 problems: 1 refused" in suite_table.markdown([REFUSED])


# ---- warming up --------------------------------------------------------------------------------------


def test_a_baseline_that_cannot_be_warmed_up_is_left_cold(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = problem(folder, "1_bad", "defines no Model")
    cache = tmp_path / "kernels"
    (cache / "ab").mkdir(parents=True)
    (cache / "ab" / "measured.best_config").touch()
    suite_warm.warm([path], ["eager", "compile"], "cpu", cache, jobs=1, limit_s=60)
    assert "1_bad: left cold" in capsys.readouterr().err
    assert not list(cache.rglob("*.warm"))
    assert not list(cache.rglob("*.best_config"))  # measured beside others


def test_nothing_is_warmed_up_where_nothing_is_compiled(folder: Path, tmp_path: Path) -> None:
    suite_warm.warm([folder / "no_such.py"], ["eager", "max_autotune"], "cpu", tmp_path, jobs=1, limit_s=60)
    assert not list(tmp_path.rglob("*.warm"))
