"""The study on disk: claims, and what optuna-dashboard gets to see."""

from __future__ import annotations

import datetime
import signal
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from helpers.searching import ONE, TWO
from optuna.trial import TrialState

from tuner.search import study
from tuner.search.study import Study
from tuner.space import Point, Space

POINT = Point.of("two", {"a": 8, "b": 4, "mode": "fast", "off": False})


def opened(folder: Path, space: Space = TWO) -> Study:
    return Study(space, folder / "study.sqlite3", "study")


def under_way(study: Study) -> set[Point]:
    with study.alone():
        return set(study.others({}))


def test_a_claim_is_seen_by_others_and_not_by_its_owner(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    with first.alone():
        number = first.claim(POINT)
    assert (under_way(first), under_way(second)) == (set(), {POINT})
    with first.alone():
        first.settle(number, None)
    assert under_way(second) == set()


def test_the_file_holds_the_values_of_the_knobs(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with study.alone():
        study.claim(POINT)
    (shown,) = optuna.load_study(study_name="study", storage=f"sqlite:///{study.path}").get_trials()
    assert shown.params == {"variant": "two", "two.a": 8, "two.b": 4, "two.mode": "fast", "two.off": False}
    assert [type(shown.params[f"two.{name}"]) for name in ("a", "off")] == [int, bool]


@pytest.mark.parametrize("name", ["a?b", "100%", "a#b", "{c}", "sp ace", "ümlaut", "mode=ro&x", "[d]"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    first, second = opened(folder), opened(folder)
    with first.alone():
        first.claim(POINT)
    assert under_way(second) == {POINT}
    assert {path.suffix for path in folder.iterdir()} == {".sqlite3", ".lock", ".alive"}
    assert list(tmp_path.iterdir()) == [folder]


def killed_while_claiming(folder: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from helpers.searching import TWO
from tuner.search.study import Study
study = Study(TWO, Path({str(folder / "study.sqlite3")!r}), "study")
with study.alone():
    study.claim(list(TWO.points())[0])
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    killed_while_claiming(tmp_path)
    study = opened(tmp_path)
    assert under_way(study) == set()
    (ended,) = study.storage.get_all_trials(study.id)
    assert ended.state is TrialState.FAIL
    assert len(list(tmp_path.glob("*.alive"))) == 1  # the killed one's is gone


def test_a_claim_of_this_host_is_not_judged_by_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a process whose clock is hours ahead."""
    first, second = opened(tmp_path), opened(tmp_path)
    with first.alone():
        first.claim(POINT)
    later = study.now() + datetime.timedelta(hours=3)
    monkeypatch.setattr(study, "now", lambda: later)
    assert under_way(second) == {POINT}


@pytest.mark.parametrize(("hours", "alive"), [(1, True), (3, False)])
def test_a_claim_of_another_host_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, alive: bool) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    with monkeypatch.context() as elsewhere, first.alone():
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        first.claim(POINT)
    del first
    later = study.now() + datetime.timedelta(hours=hours)
    monkeypatch.setattr(study, "now", lambda: later)
    assert under_way(second) == ({POINT} if alive else set())


def test_a_trial_that_names_no_owner_is_nobody_s(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.storage.create_new_trial(study.id)
    assert under_way(study) == set()


def test_a_claim_on_a_point_of_another_space_is_left_alone(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path, ONE)
    with first.alone():
        first.claim(POINT)
    assert under_way(second) == set()
    assert [trial.state for trial in first.storage.get_all_trials(first.id)] == [TrialState.RUNNING]


def test_a_study_leaves_no_file_of_its_owner(tmp_path: Path) -> None:
    study = opened(tmp_path)
    assert list(tmp_path.glob("*.alive"))
    del study
    assert not list(tmp_path.glob("*.alive"))


def test_optuna_is_quiet() -> None:
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
