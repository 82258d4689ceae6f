"""The search loop: budgets, what it remembers, and what it survives; on fake measurements."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.searching import KNOBS, ONE, TWO, Fake, Interrupted, bowl, took
from optuna.trial import FrozenTrial, TrialState

from tuner.errors import CacheError, TemplateError
from tuner.records import Evaluation, Status
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.search.samplers import SAMPLERS
from tuner.space import Branch, Constraint, Facts, Point, Space

Open = Callable[..., Search]


def studied(search: Search, *states: TrialState) -> list[FrozenTrial]:
    """The trials of a search's study, those in `states` or all."""
    return search.study.storage.get_all_trials(search.study.id, states=states or None)


KINDS = tuple(SAMPLERS)


# ---- proposals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", [1, 3])
def test_no_point_is_measured_twice_and_none_is_invalid(open_search: Open, kind: str, capacity: int) -> None:
    evaluator = Fake(capacity=capacity)
    progress = open_search(TWO, kind, stored=False).run(evaluator, Budget(60))
    assert len(evaluator.measured) == len(set(evaluator.measured)) == len(progress.trials) == 60
    assert all(TWO.rejected_by(point) is None for point in evaluator.measured)
    assert progress.stopped == "trials"


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_come_first(open_search: Open, kind: str) -> None:
    evaluator = Fake()
    open_search(TWO, kind, stored=False).run(evaluator, Budget(3))
    assert evaluator.measured[:2] == list(TWO.defaults)


def test_hints_come_after_the_defaults_where_they_are_valid(tmp_path: Path) -> None:
    good = Point("two", (("a", 8), ("b", 4), ("mode", "fast"), ("off", False)))
    invalid = Point("one", (("a", 16), ("b", 8), ("mode", "fast"), ("off", False)))
    elsewhere = Point("one", (("a", 3), ("b", 8), ("mode", "fast"), ("off", False)))
    hints = [invalid, elsewhere, TWO.defaults[0], good]
    evaluator = Fake()
    Search(TWO, "tpe", 0, None, "s", Ledger(tmp_path / "s.jsonl"), hints).run(evaluator, Budget(3))
    assert evaluator.measured == [*TWO.defaults, good]


def test_further_starts_of_a_much_slower_variant_wait(tmp_path: Path) -> None:
    slower, faster = TWO.defaults
    hints = [next(p for p in TWO.points() if p.variant == one.variant and p != one) for one in (slower, faster)]
    evaluator = Fake(lambda point: took(2.0 if point.variant == slower.variant else 1.0))
    Search(TWO, "random", 0, None, "s", Ledger(tmp_path / "s.jsonl"), hints).run(evaluator, Budget(3))
    assert evaluator.measured == [slower, faster, hints[1]]


def test_a_default_that_a_constraint_rejects_is_not_tried(open_search: Open) -> None:
    never = Constraint("mode is not slow", lambda k, f: k.mode != "slow")
    evaluator = Fake()
    open_search(Space((Branch("one", KNOBS, (never,)),), Facts()), stored=False).run(evaluator, Budget(5))
    assert len(evaluator.measured) == 5
    assert all(point.knobs["mode"] != "slow" for point in evaluator.measured)


def test_rejected_points_cost_no_budget_and_are_counted_by_rule(open_search: Open) -> None:
    opened = open_search(stored=False)
    progress = opened.run(Fake(), Budget(40))
    assert len(progress.trials) == 40
    assert set(progress.rejected) == {"a*b<=64", "not odd with 1"}
    assert {frozen.state for frozen in studied(opened)} == {TrialState.COMPLETE}


@pytest.mark.parametrize("kind", KINDS)
def test_a_space_is_searched_to_its_end(open_search: Open, kind: str) -> None:
    small = Space((Branch("one", KNOBS[:1] + KNOBS[3:]), Branch("two", KNOBS[3:])), Facts())
    evaluator = Fake(lambda point: took(1.0), capacity=2)
    progress = open_search(small, kind, stored=False).run(evaluator, Budget(100))
    assert sorted(map(str, evaluator.measured)) == sorted(map(str, small.points()))
    assert progress.stopped == "exhausted"


def test_tpe_comes_near_the_least_of_a_bowl_in_a_quarter_of_the_space(open_search: Open) -> None:
    progress = open_search(TWO, stored=False).run(Fake(), Budget(60))
    assert progress.best_ms is not None and progress.best_ms <= 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_trials(open_search: Open, kind: str) -> None:
    runs = [Fake(), Fake(), Fake()]
    for seed, evaluator in zip((3, 3, 4), runs, strict=True):
        open_search(TWO, kind, seed, stored=False, name=f"study-{id(evaluator)}").run(evaluator, Budget(30))
    assert runs[0].measured == runs[1].measured
    assert kind == "exhaustive" or runs[0].measured != runs[2].measured


def test_a_faulty_point_does_not_change_the_result(open_search: Open) -> None:
    def faulty(point: Point) -> Evaluation:
        bad = {Status.COMPILE: 1, Status.CRASH: 2, Status.TIMEOUT: 16}
        status = next((s for s, a in bad.items() if point.knobs["a"] == a), None)
        return Evaluation(status=status, detail="injected") if status else bowl(point)

    clean = open_search(TWO, stored=False, name="clean").run(Fake(), Budget(70))
    progress = open_search(TWO, stored=False, name="faulty").run(Fake(faulty), Budget(70))
    assert set(progress.failures) == {"compile", "crash", "timeout"}
    assert progress.best is not None and clean.best is not None
    assert progress.best.point == clean.best.point


# ---- limits ----------------------------------------------------------------------------------------


def test_patience(open_search: Open) -> None:
    progress = open_search(TWO, "exhaustive", stored=False).run(Fake(lambda c: took(1.0)), Budget(100, patience=7))
    assert (progress.stopped, len(progress.trials)) == ("patience", 8)


def test_patience_waits_for_a_first_right_kernel(open_search: Open) -> None:
    never = Fake(lambda point: Evaluation(status=Status.VERIFY, detail="wrong"))
    progress = open_search(ONE, "exhaustive", stored=False).run(never, Budget(30, patience=3))
    assert (progress.stopped, len(progress.trials), progress.best) == ("trials", 30, None)


def test_a_search_stops_where_its_sampler_expects_too_little(open_search: Open) -> None:
    search = open_search(TWO, "gaussian", stored=False)
    progress = search.run(Fake(), Budget(len(TWO), least_gain=0.004))
    assert progress.stopped == "gain"
    assert progress.expected_gain < 0.004
    assert progress.why_stopped == "nothing more than 0.4 % is expected of a trial"
    assert progress.best_ms == min(bowl(p).latency_ms for p in TWO.points() if bowl(p).status is Status.OK)


def test_no_search_stops_for_a_gain_that_its_sampler_cannot_tell(open_search: Open) -> None:
    progress = open_search(TWO, "random", stored=False).run(Fake(), Budget(90, least_gain=0.9))
    assert (progress.stopped, len(progress.trials)) == ("trials", 90)


def test_time(open_search: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    progress = open_search(stored=False).run(Fake(), Budget(1000, time_s=50))
    assert progress.stopped == "time"
    assert 0 < len(progress.trials) < 50


def test_at_least_one_trial_is_made_whatever_the_time(open_search: Open) -> None:
    progress = open_search(stored=False).run(Fake(), Budget(10, time_s=1e-9))
    assert (progress.stopped, len(progress.trials)) == ("time", 1)


# ---- what is remembered ----------------------------------------------------------------------------


def test_a_resumed_search_measures_what_is_left(open_search: Open) -> None:
    first, second = Fake(), Fake()
    open_search(TWO).run(first, Budget(10))
    progress = open_search(TWO).run(second, Budget(25))
    assert (progress.resumed, len(progress.trials), len(second.measured)) == (10, 25, 15)
    assert not set(first.measured) & set(second.measured)
    assert open_search(TWO).run(Fake(), Budget(25)).stopped == "trials"


def test_ctrl_c_keeps_the_best_and_what_was_under_way_is_measured_later(open_search: Open) -> None:
    evaluator = Interrupted(5, capacity=3)
    opened = open_search()
    progress = opened.run(evaluator, Budget(50))
    assert (progress.stopped, len(progress.trials)) == ("interrupted", 5)
    assert progress.best_ms == min(bowl(c).latency_ms for c in evaluator.measured)
    assert not studied(opened, TrialState.RUNNING)
    lost = {point for _, point in evaluator.waiting}
    again = Fake()
    open_search(kind="exhaustive").run(again, Budget(1000))
    assert lost <= set(again.measured)


def killed(tmp_path: Path, after: int, where: str) -> None:
    """A search in a process of its own, killed by SIGKILL after so many trials."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from helpers.searching import *
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.search.study import Study
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
class Dying(Fake):
    def next(self):
        if len(self.measured) == {after}:
            {"die()" if where == "trial" else "Study.settle = die"}
        return super().next()
Search(TWO, "tpe", 0, Path("study.sqlite3"), "study", Ledger(Path("study.jsonl"))).run(Dying(capacity=2), Budget(50))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("where", ["trial", "between ledger and study"])
def test_a_killed_search_loses_no_measured_trial(tmp_path: Path, open_search: Open, where: str) -> None:
    killed(tmp_path, 6, where)
    written = Ledger(tmp_path / "study.jsonl").read()
    assert len(written) == (6 if where == "trial" else 7)
    opened = open_search(TWO)
    assert opened.progress.resumed == len(written)
    assert not studied(opened, TrialState.RUNNING)  # those of the dead process are closed
    complete = studied(opened, TrialState.COMPLETE)
    assert {t.number for t in written} <= {t.number for t in complete}
    evaluator = Fake()
    opened.run(evaluator, Budget(30))
    assert len(evaluator.measured) == 30 - len(written)
    assert not {t.point for t in written} & set(evaluator.measured)


def test_a_trial_of_a_living_process_stays_open_and_is_not_measured_again(open_search: Open) -> None:
    first = open_search(TWO)
    with first.study.alone():
        point = TWO.defaults[0]  # where the second would begin
        number = first.study.claim(point)
    second, evaluator = open_search(TWO), Fake()
    second.run(evaluator, Budget(5))
    assert studied(second)[number].state is TrialState.RUNNING
    assert point not in evaluator.measured


def test_two_searches_on_one_study_share_points_and_budget(open_search: Open) -> None:
    """Each sees the other's trials as they come: none measured twice, none lost, one budget."""
    first, second = open_search(TWO), open_search(TWO)
    ours, theirs = Fake(), Fake()

    class Alternating(Fake):
        def next(self) -> tuple[int, str, Evaluation]:
            if len(theirs.measured) < 10:
                second.run(theirs, Budget(len(theirs.measured) + len(self.measured) + 2))
            return super().next()

    ours = Alternating()
    progress = first.run(ours, Budget(20))
    assert len(theirs.measured) == 10
    assert not set(ours.measured) & set(theirs.measured)
    assert {t.point for t in progress.trials} == set(ours.measured) | set(theirs.measured)
    assert len(Ledger(first.ledger.path).read()) == len(progress.trials) == 20


def test_another_process_that_tells_our_trial_first_does_no_harm(open_search: Open) -> None:
    first = open_search(TWO)

    class Meanwhile(Fake):
        def next(self) -> tuple[int, str, Evaluation]:
            number, sha256, evaluation = super().next()
            trial_id = first.study.storage.get_trial_id_from_study_id_trial_number(first.study.id, number)
            # As one that reads the ledger would.
            first.study.storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [evaluation.latency_ms])
            return number, sha256, evaluation

    assert len(first.run(Meanwhile(), Budget(4)).trials) == 4


def test_points_left_by_a_killed_process_are_measured(open_search: Open) -> None:
    first = open_search(ONE, "exhaustive")
    with first.study.alone():
        for point in list(ONE.points())[:3]:
            first.study.claim(point)
    second, evaluator = open_search(ONE, "exhaustive"), Fake()
    second.run(evaluator, Budget(10))
    assert not set(list(ONE.points())[:3]) & set(evaluator.measured)
    del first  # its lock goes with it, as when its process is killed
    progress = second.run(evaluator, Budget(1000))
    assert progress.stopped == "exhausted"
    assert len(evaluator.measured) == len(list(ONE.points())) == len(set(evaluator.measured))


def test_a_ledger_outlives_its_study(open_search: Open, tmp_path: Path) -> None:
    open_search(TWO).run(Fake(), Budget(8))
    (tmp_path / "study.sqlite3").unlink()
    for budget in (12, 16):  # twice: numbers begin anew, and no trial may hide behind another's
        progress = open_search(TWO).run(Fake(), Budget(budget))
        assert len(progress.trials) == budget
    assert len({t.point for t in Ledger(tmp_path / "study.jsonl").read()}) == 16


def test_lines_of_another_space_are_left_alone(open_search: Open) -> None:
    open_search(TWO).run(Fake(), Budget(12))
    progress = open_search(ONE, name="study").progress
    assert 0 < progress.resumed < 12


# ---- a study that cannot be used -------------------------------------------------------------------


def test_a_damaged_study_is_one_line(open_search: Open, tmp_path: Path) -> None:
    (tmp_path / "study.sqlite3").write_bytes(b"not a database, and long enough to be looked at\n" * 100)
    with pytest.raises(CacheError, match=r"study\.sqlite3: cannot use the study: .*not a database.*may be deleted"):
        open_search()


def test_a_study_that_breaks_during_the_search_is_one_line(open_search: Open, tmp_path: Path) -> None:
    class Breaking(Fake):
        def next(self) -> tuple[int, str, Evaluation]:
            if len(self.measured) == 3:
                with sqlite3.connect(tmp_path / "study.sqlite3") as database:
                    database.execute("DROP TABLE trials")
            return super().next()

    with pytest.raises(CacheError, match="cannot use the study"):
        open_search().run(Breaking(), Budget(10))
    assert len(Ledger(tmp_path / "study.jsonl").read()) >= 3


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot use the study"):
        Search(ONE, "tpe", 0, tmp_path / "file" / "study.sqlite3", "study", Ledger(tmp_path / "l.jsonl"))


def test_a_constraint_that_raises_is_the_template_s_fault(open_search: Open) -> None:
    broken = Constraint("a<=N", lambda k, f: k.a <= f.N)
    with pytest.raises(TemplateError, match="constraint 'a<=N' raised AttributeError"):
        open_search(Space((Branch("one", KNOBS, (broken,)),), Facts()), stored=False).run(Fake(), Budget(3))


def test_a_bug_in_the_evaluator_propagates(open_search: Open) -> None:
    with pytest.raises(ZeroDivisionError):
        open_search().run(Interrupted(2, ZeroDivisionError), Budget(5))


def test_a_deleted_study_is_told_what_the_ledger_has(open_search: Open, tmp_path: Path) -> None:
    first = open_search(TWO)
    first.run(Fake(), Budget(12))
    for path in tmp_path.rglob("*.sqlite3"):
        path.unlink()
    again = open_search(TWO)
    told = {tuple(frozen.params.items()): frozen.value for frozen in studied(again)}
    assert len(told) == 12
    assert Counter(told.values()) == Counter(t.evaluation.latency_ms for t in first.progress.trials)
    evaluator = Fake()
    again.run(evaluator, Budget(20))
    assert len(evaluator.measured) == 8
