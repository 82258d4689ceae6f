"""Trials on workers of a cluster that sleep: shared, moved from those that die or fail, never told twice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("distributed")

from helpers.crew import Quiet, Sleepers, measured, ms_of, run, subject

from tuner.cluster.bay import Subject
from tuner.cluster.station import Fleet
from tuner.errors import ConfigError, DeviceFailed, ProblemError
from tuner.execution.likeness import POINTS, Likeness
from tuner.execution.spread import FAILURES
from tuner.records import Status
from tuner.template.render import Candidate

pytestmark = pytest.mark.slow
DEVICES = tuple(f"cpu:{core}-{core}" for core in range(4))
TEXTS = [str(number) for number in range(40)]


@pytest.fixture(scope="module")
def sleepers() -> Iterator[Sleepers]:
    with Sleepers(*DEVICES) as made:
        yield made


@contextlib.contextmanager
def fleet(sleepers: Sleepers, asked: Subject, told: Quiet | None = None) -> Iterator[Fleet]:
    with contextlib.closing(Fleet(sleepers.workers, sleepers.kind, asked, 0.0, None, told or Quiet())) as made:
        yield made


def winner(texts: list[str]) -> str:
    return min(texts, key=ms_of)


def test_every_worker_measures_its_share_and_nothing_is_measured_twice(sleepers: Sleepers, tmp_path: Path) -> None:
    with fleet(sleepers, subject(tmp_path)) as made:
        made.likeness = {address: Likeness(asked=POINTS) for address in sleepers.workers.members}
        assert made.capacity == 4
        found = run(made, TEXTS)
    assert {evaluation.status for evaluation in found.values()} == {Status.OK}
    assert measured(tmp_path) == dict.fromkeys(TEXTS, 1)
    lines = (tmp_path / "measured").read_text().splitlines()
    assert {line.split()[1] for line in lines} == set(DEVICES)


def test_workers_that_are_killed_in_turn_lose_no_trial(sleepers: Sleepers, tmp_path: Path) -> None:
    pids = sleepers.pids()
    kills = {5 * (i + 1): partial(os.kill, pids[device], signal.SIGKILL) for i, device in enumerate(DEVICES)}
    with fleet(sleepers, subject(tmp_path, sleep_s=0.05)) as made:
        made.likeness = {address: Likeness(asked=POINTS) for address in sleepers.workers.members}
        found = run(made, TEXTS, kills)
    assert sorted(found) == sorted(TEXTS)
    assert min(found, key=lambda text: found[text].latency_ms) == winner(TEXTS)
    sleepers.wait_for(len(DEVICES))
    assert all(sleepers.pids()[device] != pid for device, pid in pids.items())  # others are in their place


def test_a_trial_at_which_every_device_fails_is_a_crash_of_its_own(sleepers: Sleepers, tmp_path: Path) -> None:
    with fleet(sleepers, subject(tmp_path)) as made:
        found = run(made, ["1", "cursed", "2"])
    assert found["cursed"].status is Status.CRASH and "fell off the bus" in found["cursed"].detail
    assert found["1"].status is found["2"].status is Status.OK
    assert max(sleepers.workers.failures.values()) < FAILURES  # it was tried on different ones
    sleepers.workers.failures.clear()


def test_what_the_user_can_mend_is_raised_as_it_was_there(sleepers: Sleepers, tmp_path: Path) -> None:
    with fleet(sleepers, subject(tmp_path)) as made, pytest.raises(ProblemError, match="no problem"):
        run(made, ["wrong"])


def test_a_bug_on_a_worker_is_raised_and_not_tried_again(sleepers: Sleepers, tmp_path: Path) -> None:
    with fleet(sleepers, subject(tmp_path)) as made, pytest.raises(OSError, match="a bug"):
        run(made, ["buggy"])


def test_a_worker_of_another_speed_is_said_once(sleepers: Sleepers, tmp_path: Path) -> None:
    told = Quiet()
    with fleet(sleepers, subject(tmp_path, slow=DEVICES[2]), told) as made:
        made.home = next(a for a, each in sleepers.workers.members.items() if each.device == DEVICES[1])
        run(made, TEXTS)
        made.close()
    assert told.said == [f"{DEVICES[2]} of host takes 2.00 times as long as {DEVICES[1]} of host for the same points"]


def test_a_worker_whose_device_fails_again_and_again_is_left_out(sleepers: Sleepers, tmp_path: Path) -> None:
    with fleet(sleepers, subject(tmp_path, bad=DEVICES[3])) as made:
        found = run(made, TEXTS)
        assert made.capacity == 3
    assert {evaluation.status for evaluation in found.values()} == {Status.OK}
    assert any(f"{DEVICES[3]} (" in note and "failed 3 times and is left out" in note for note in sleepers.notes)


def test_kinds_are_kept_apart_and_who_cannot_measure_is_refused(tmp_path: Path) -> None:
    with Sleepers("cpu:0-0", "cpu:8-8", "cpu:9-9") as made:
        kinds = made.workers.kinds()
        assert sorted(environment.cores for environment in kinds.values()) == [2, 8]
        assert any("it has no compiler" in note for note in made.notes)
        with pytest.raises(ConfigError, match="no worker of the cluster holds a device of kind cuda; there are"):
            made.workers.kinds("cuda")
        for kind, environment in kinds.items():
            folder = tmp_path / kind
            folder.mkdir()
            with contextlib.closing(Fleet(made.workers, kind, subject(folder), 0.0, None, Quiet())) as one:
                run(one, TEXTS[:6])
            devices = {line.split()[1] for line in (folder / "measured").read_text().splitlines()}
            assert devices == ({"cpu:8-8"} if environment.cores == 8 else {"cpu:0-0"})


def test_a_search_without_workers_says_so_and_ends(
    sleepers: Sleepers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.cluster.workers.ALONE_S", 0.5)
    with contextlib.closing(Fleet(sleepers.workers, "tuner-no-such", subject(tmp_path), 0.0, None, Quiet())) as made:
        made.submit(0, Candidate("1"))
        with pytest.raises(DeviceFailed, match="no worker with such a device has come"):
            made.next()
    assert any("waiting for one to come" in note for note in sleepers.notes)
