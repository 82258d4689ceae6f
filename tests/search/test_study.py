"""The search: proposals, budgets, what it remembers, and what it survives; on fake measurements."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tuner.errors import CacheError, TemplateError
from tuner.records import Case, Correctness, Evaluation, Performance, Status
from tuner.search import study as search
from tuner.search.ledger import Ledger
from tuner.search.study import Budget, Search, simplest_of_ties
from tuner.space import Branch, Constraint, Facts, Knob, Point, Space

RIGHT = Correctness(cases=(Case(name="A", ok=True),), error_ratio=1.0, agrees_with_eager=True)


def took(latency_ms: float) -> Evaluation:
    performance = Performance(latency_ms=latency_ms, q25_ms=latency_ms, q75_ms=latency_ms, samples=3)
    return Evaluation(status=Status.OK, correctness=RIGHT, performance=performance)


def bowl(point: Point) -> Evaluation:
    """A time with its least, 1 ms, at a=8, b=4, mode=fast, off=False; 0.5 ms more in the variant `two`."""
    knobs = point.knobs
    apart = abs((1, 2, 4, 8, 16).index(knobs["a"]) - 3) + abs((1, 2, 4, 8).index(knobs["b"]) - 2)
    return took(1.0 + apart + 0.5 * (knobs["mode"] != "fast") + 0.25 * knobs["off"] + 0.5 * (point.variant == "two"))


KNOBS = (
    Knob("a", (1, 2, 4, 8, 16), 1),
    Knob("b", (1, 2, 4, 8), 8),
    Knob("mode", ("slow", "fast", "odd"), "slow"),
    Knob("off", (False, True), True),
)
SMALL_PRODUCT = Constraint("a*b<=64", lambda k, f: k.a * k.b <= 64)
EVEN = Constraint("not odd with 1", lambda k, f: not (k.mode == "odd" and k.a == 1))
ONE = Space((Branch("one", KNOBS, (SMALL_PRODUCT, EVEN)),), Facts())
TWO = Space((Branch("one", KNOBS, (SMALL_PRODUCT, EVEN)), Branch("two", KNOBS)), Facts())


class Fake:
    """An evaluator that answers from a function, in the order asked."""

    def __init__(self, function=bowl, capacity: int = 1) -> None:
        self.function, self.capacity = function, capacity
        self.waiting: list[tuple[int, Point]] = []
        self.measured: list[Point] = []

    def submit(self, number: int, point: Point) -> None:
        self.waiting.append((number, point))

    def next(self) -> tuple[int, str, Evaluation]:
        number, point = self.waiting.pop(0)
        self.measured.append(point)
        return number, "0" * 64, self.function(point)


class Interrupted(Fake):
    """Ctrl-C arrives while a trial is under way."""

    def __init__(self, after: int, what: type[BaseException] = KeyboardInterrupt, **more) -> None:
        super().__init__(**more)
        self.after, self.what = after, what

    def next(self) -> tuple[int, str, Evaluation]:
        if len(self.measured) == self.after:
            raise self.what
        return super().next()


@pytest.fixture
def open_search(tmp_path):
    def open_search(space=ONE, kind="tpe", seed=0, name="study", stored=True) -> Search:
        storage = tmp_path / f"{name}.sqlite3" if stored else None
        return Search(space, kind, seed, storage, name, Ledger(tmp_path / f"{name}.jsonl"))

    return open_search


KINDS = ("tpe", "random", "exhaustive")


# ---- proposals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", [1, 3])
def test_no_point_is_measured_twice_and_none_is_invalid(open_search, kind, capacity):
    evaluator = Fake(capacity=capacity)
    progress = open_search(TWO, kind, stored=False).run(evaluator, Budget(60))
    assert len(evaluator.measured) == len(set(evaluator.measured)) == len(progress.trials) == 60
    assert all(TWO.rejected_by(point) is None for point in evaluator.measured)
    assert progress.stopped == "trials"


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_come_first(open_search, kind):
    evaluator = Fake()
    open_search(TWO, kind, stored=False).run(evaluator, Budget(3))
    assert evaluator.measured[:2] == list(TWO.defaults)


def test_hints_come_after_the_defaults_where_they_are_valid(tmp_path):
    good = Point("two", (("a", 8), ("b", 4), ("mode", "fast"), ("off", False)))
    invalid = Point("one", (("a", 16), ("b", 8), ("mode", "fast"), ("off", False)))
    elsewhere = Point("one", (("a", 3), ("b", 8), ("mode", "fast"), ("off", False)))
    hints = [invalid, elsewhere, TWO.defaults[0], good]
    evaluator = Fake()
    Search(TWO, "tpe", 0, None, "s", Ledger(tmp_path / "s.jsonl"), hints).run(evaluator, Budget(3))
    assert evaluator.measured == [*TWO.defaults, good]


def test_a_default_that_a_constraint_rejects_is_not_tried(open_search):
    never = Constraint("mode is not slow", lambda k, f: k.mode != "slow")
    evaluator = Fake()
    open_search(Space((Branch("one", KNOBS, (never,)),), Facts()), stored=False).run(evaluator, Budget(5))
    assert len(evaluator.measured) == 5
    assert all(point.knobs["mode"] != "slow" for point in evaluator.measured)


def test_rejected_points_cost_no_budget_and_are_counted_by_rule(open_search):
    opened = open_search(stored=False)
    progress = opened.run(Fake(), Budget(40))
    assert len(progress.trials) == 40
    assert set(progress.rejected) == {"a*b<=64", "not odd with 1"}
    told = opened.study.get_trials()
    assert len(told) > 40
    assert sum(t.state is TrialState.COMPLETE for t in told) >= 40
    assert not any(t.state is TrialState.FAIL for t in told)  # TPE would be deaf to it


@pytest.mark.parametrize("kind", KINDS)
def test_a_space_is_searched_to_its_end(open_search, kind):
    small = Space((Branch("one", KNOBS[:1] + KNOBS[3:]), Branch("two", KNOBS[3:])), Facts())
    evaluator = Fake(lambda point: took(1.0), capacity=2)
    progress = open_search(small, kind, stored=False).run(evaluator, Budget(100))
    assert sorted(map(str, evaluator.measured)) == sorted(map(str, small.points()))
    assert progress.stopped == "exhausted"


def test_tpe_comes_near_the_least_of_a_bowl_in_a_quarter_of_the_space(open_search):
    progress = open_search(TWO, stored=False).run(Fake(), Budget(60))
    assert progress.best.evaluation.latency_ms <= 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_trials(open_search, kind):
    runs = [Fake(), Fake(), Fake()]
    for seed, evaluator in zip((3, 3, 4), runs, strict=True):
        open_search(TWO, kind, seed, stored=False, name=f"study-{id(evaluator)}").run(evaluator, Budget(30))
    assert runs[0].measured == runs[1].measured
    assert kind == "exhaustive" or runs[0].measured != runs[2].measured


def test_a_faulty_point_does_not_change_the_result(open_search):
    def faulty(point: Point) -> Evaluation:
        bad = {Status.COMPILE: 1, Status.CRASH: 2, Status.TIMEOUT: 16}
        status = next((s for s, a in bad.items() if point.knobs["a"] == a), None)
        return Evaluation(status=status, detail="injected") if status else bowl(point)

    clean = open_search(TWO, stored=False, name="clean").run(Fake(), Budget(70))
    progress = open_search(TWO, stored=False, name="faulty").run(Fake(faulty), Budget(70))
    assert set(progress.failures) == {"compile", "crash", "timeout"}
    assert progress.best.point == clean.best.point


# ---- limits ----------------------------------------------------------------------------------------


def test_patience(open_search):
    progress = open_search(TWO, "exhaustive", stored=False).run(Fake(lambda c: took(1.0)), Budget(100, patience=7))
    assert (progress.stopped, len(progress.trials)) == ("patience", 8)


def test_patience_waits_for_a_first_right_kernel(open_search):
    never = Fake(lambda point: Evaluation(status=Status.VERIFY, detail="wrong"))
    progress = open_search(ONE, "exhaustive", stored=False).run(never, Budget(30, patience=3))
    assert (progress.stopped, len(progress.trials), progress.best) == ("trials", 30, None)


def test_time(open_search, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(search.time, "monotonic", lambda: float(next(clock)))
    progress = open_search(stored=False).run(Fake(), Budget(1000, time_s=50))
    assert progress.stopped == "time"
    assert 0 < len(progress.trials) < 50


def test_at_least_one_trial_is_made_whatever_the_time(open_search):
    progress = open_search(stored=False).run(Fake(), Budget(10, time_s=1e-9))
    assert (progress.stopped, len(progress.trials)) == ("time", 1)


# ---- what is remembered ----------------------------------------------------------------------------


def test_a_resumed_search_measures_what_is_left(open_search):
    first, second = Fake(), Fake()
    open_search(TWO).run(first, Budget(10))
    progress = open_search(TWO).run(second, Budget(25))
    assert (progress.resumed, len(progress.trials), len(second.measured)) == (10, 25, 15)
    assert not set(first.measured) & set(second.measured)
    assert open_search(TWO).run(Fake(), Budget(25)).stopped == "trials"


def test_ctrl_c_keeps_the_best_and_what_was_under_way_is_measured_later(open_search):
    evaluator = Interrupted(5, capacity=3)
    opened = open_search()
    progress = opened.run(evaluator, Budget(50))
    assert (progress.stopped, len(progress.trials)) == ("interrupted", 5)
    assert progress.best.evaluation.latency_ms == min(bowl(c).latency_ms for c in evaluator.measured)
    assert not opened.study.get_trials(states=(TrialState.RUNNING,))
    lost = {point for _, point in evaluator.waiting}
    again = Fake()
    open_search(kind="exhaustive").run(again, Budget(1000))
    assert lost <= set(again.measured)


def killed(tmp_path: Path, after: int, where: str) -> None:
    """A search in a process of its own, killed by SIGKILL after so many trials."""
    script = f"""
import os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
from test_study import *
from tuner.search.study import Search
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
class Dying(Fake):
    def next(self):
        if len(self.measured) == {after}:
            {"die()" if where == "trial" else "Search._tell = die"}
        return super().next()
Search(TWO, "tpe", 0, Path("study.sqlite3"), "study", Ledger(Path("study.jsonl"))).run(Dying(capacity=2), Budget(50))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("where", ["trial", "between ledger and study"])
def test_a_killed_search_loses_no_measured_trial(tmp_path, open_search, where):
    killed(tmp_path, 6, where)
    written = Ledger(tmp_path / "study.jsonl").read()
    assert len(written) == (6 if where == "trial" else 7)
    opened = open_search(TWO)
    assert opened.progress.resumed == len(written)
    assert not opened.study.get_trials(states=(TrialState.RUNNING,))  # those of the dead process are closed
    complete = opened.study.get_trials(states=(TrialState.COMPLETE,))
    assert {t.number for t in written} <= {t.number for t in complete}
    evaluator = Fake()
    opened.run(evaluator, Budget(30))
    assert len(evaluator.measured) == 30 - len(written)
    assert not {t.point for t in written} & set(evaluator.measured)


def test_a_trial_of_a_living_process_stays_open_and_is_not_measured_again(open_search):
    first = open_search(TWO)
    with first._using_the_study():
        number, point = first._propose()
    second, evaluator = open_search(TWO), Fake()
    second.run(evaluator, Budget(5))
    assert second.study.trials[number].state is TrialState.RUNNING
    assert point not in evaluator.measured
    owner = second.study.trials[number].user_attrs[search.OWNER]
    assert owner == search.me() and not search._is_gone(owner)


def test_a_process_is_known_by_more_than_its_number():
    host, pid, started = search.me().split(":")
    assert search._is_gone(f"{host}:{pid}:{int(started) + 1}")  # the number given to another process since
    assert search._is_gone(f"{host}:{2**22 + 1}:1")
    assert not search._is_gone(f"another-{host}:{2**22 + 1}:1")
    assert search._is_gone("")


def test_a_dead_process_that_nobody_has_reaped_is_gone():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    host = search.me().split(":")[0]
    try:
        assert search._is_gone(f"{host}:{child.pid}:1")
    finally:
        child.wait()


def test_two_searches_on_one_study_share_points_and_budget(open_search):
    """Each sees the other's trials as they come: none measured twice, none lost, one budget."""
    first, second = open_search(TWO), open_search(TWO)
    ours, theirs = Fake(), Fake()

    class Alternating(Fake):
        def next(self):
            if len(theirs.measured) < 10:
                second.run(theirs, Budget(len(theirs.measured) + len(self.measured) + 2))
            return super().next()

    ours = Alternating()
    progress = first.run(ours, Budget(20))
    assert len(theirs.measured) == 10
    assert not set(ours.measured) & set(theirs.measured)
    assert {t.point for t in progress.trials} == set(ours.measured) | set(theirs.measured)
    assert len(Ledger(first.ledger.path).read()) == len(progress.trials) == 20


def test_another_process_that_tells_our_trial_first_does_no_harm(open_search):
    first = open_search(TWO)

    class Meanwhile(Fake):
        def next(self):
            number, sha256, evaluation = super().next()
            first.study.tell(number, evaluation.latency_ms)  # as one that reads the ledger would
            return number, sha256, evaluation

    assert len(first.run(Meanwhile(), Budget(4)).trials) == 4


def test_points_left_in_the_queue_by_a_killed_process_do_no_harm(open_search):
    first = open_search(ONE, "exhaustive")
    points = list(ONE.points())
    first.study.enqueue_trial({"one.a": 0, "one.b": 0, "one.mode": "fast", "one.off": False})
    evaluator = Fake()
    progress = open_search(ONE, "exhaustive").run(evaluator, Budget(1000))
    assert progress.stopped == "exhausted"
    assert len(evaluator.measured) == len(points) == len(set(evaluator.measured))


def test_a_ledger_outlives_its_study(open_search, tmp_path):
    open_search(TWO).run(Fake(), Budget(8))
    (tmp_path / "study.sqlite3").unlink()
    for budget in (12, 16):  # twice: numbers begin anew, and no trial may hide behind another's
        progress = open_search(TWO).run(Fake(), Budget(budget))
        assert len(progress.trials) == budget
    assert len({t.point for t in Ledger(tmp_path / "study.jsonl").read()}) == 16


def test_lines_of_another_space_are_left_alone(open_search):
    open_search(TWO).run(Fake(), Budget(12))
    progress = open_search(ONE, name="study").progress
    assert 0 < progress.resumed < 12


# ---- a study that cannot be used -------------------------------------------------------------------


def test_a_damaged_study_is_one_line(open_search, tmp_path):
    (tmp_path / "study.sqlite3").write_bytes(b"not a database, and long enough to be looked at\n" * 100)
    with pytest.raises(CacheError, match=r"study\.sqlite3: cannot use the study: .*not a database.*may be deleted"):
        open_search()


def test_a_study_that_breaks_during_the_search_is_one_line(open_search, tmp_path):
    class Breaking(Fake):
        def next(self):
            if len(self.measured) == 3:
                with sqlite3.connect(tmp_path / "study.sqlite3") as database:
                    database.execute("DROP TABLE trials")
            return super().next()

    with pytest.raises(CacheError, match="cannot use the study"):
        open_search().run(Breaking(), Budget(10))
    assert len(Ledger(tmp_path / "study.jsonl").read()) >= 3


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot use the study"):
        Search(ONE, "tpe", 0, tmp_path / "file" / "study.sqlite3", "study", Ledger(tmp_path / "l.jsonl"))


def test_a_constraint_that_raises_is_the_template_s_fault(open_search):
    broken = Constraint("a<=N", lambda k, f: k.a <= f.N)
    with pytest.raises(TemplateError, match="constraint 'a<=N' raised AttributeError"):
        open_search(Space((Branch("one", KNOBS, (broken,)),), Facts()), stored=False).run(Fake(), Budget(3))


def test_a_bug_in_the_evaluator_propagates(open_search):
    with pytest.raises(ZeroDivisionError):
        open_search().run(Interrupted(2, ZeroDivisionError), Budget(5))


def test_a_deleted_study_is_told_what_the_ledger_has(open_search, tmp_path):
    first = open_search(TWO)
    first.run(Fake(), Budget(12))
    for path in tmp_path.rglob("*.sqlite3"):
        path.unlink()
    again = open_search(TWO)
    told = {tuple(t.params.items()): t.value for t in again.study.get_trials()}
    assert len(told) == 12
    assert sorted(told.values()) == sorted(t.evaluation.latency_ms for t in first.progress.trials)
    evaluator = Fake()
    again.run(evaluator, Budget(20))
    assert len(evaluator.measured) == 8


# ---- ties ------------------------------------------------------------------------------------------


def point(**knobs) -> Point:
    values = {knob.name: knob.default for knob in KNOBS} | knobs
    return Point("one", tuple(values.items()))


def test_a_tie_goes_to_the_simplest():
    far, near, slow = point(a=8, mode="fast"), point(a=2), point()
    assert simplest_of_ties([(far, 1.0), (near, 0.99), (slow, 1.01)], ONE) == near
    assert simplest_of_ties([(far, 1.0), (near, 1.001)], ONE) == far
    equal = point(a=2), point(b=4)
    assert simplest_of_ties([(c, 1.0) for c in equal], ONE) == simplest_of_ties([(c, 1.0) for c in equal[::-1]], ONE)


def test_optuna_is_quiet():
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
