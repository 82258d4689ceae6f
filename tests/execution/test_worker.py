"""Worker processes: answers, deadlines, deaths, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.processes import alive, gone_within, written

from tuner.errors import ConfigError, ProblemError, TunerError
from tuner.execution import worker
from tuner.execution.worker import Worker, WorkerBug, WorkerCrash, WorkerFailure, WorkerTimeout

NEVER_S = 600.0  # a deadline that no test reaches: its own timeout comes first


@pytest.fixture(scope="module")
def shared():
    with Worker("helpers.target:Target", {"greeting": "Hello"}) as made:
        yield made


@pytest.fixture
def fresh():
    with Worker("helpers.target:Target", {"greeting": "Hello"}) as made:
        yield made


def works(made: Worker) -> bool:
    return made.call("greet", 60, name="you")["text"] == "Hello, you"


# ---- answers ---------------------------------------------------------------------------------------


def test_calls_are_answered_by_one_process_that_keeps_its_state(fresh):
    first, second = fresh.call("greet", 60, name="a"), fresh.call("greet", 60, name="b")
    assert (first["text"], second["text"], second["calls"]) == ("Hello, a", "Hello, b", 2)
    assert first["pid"] == second["pid"] != os.getpid()
    assert fresh.started == 1


def test_a_fault_comes_through_by_its_type(shared):
    with pytest.raises(ConfigError, match="the words"):
        shared.call("refuse", 60, kind="config")
    with pytest.raises(ProblemError, match="the words"):  # the nearest that the main process knows
        shared.call("refuse", 60, kind="peculiar")
    assert works(shared)


@pytest.mark.parametrize(
    ("method", "says"),
    [("fail", "ZeroDivisionError: division by zero"), ("fail_strangely", "Unpicklable"), ("leave", "SystemExit: 3"),
     ("not_json", "not JSON serializable"), ("missing", "has no attribute 'missing'")],
)  # fmt: skip
def test_a_bug_carries_its_traceback_and_the_process_lives(shared, method, says):
    before = shared.started
    with pytest.raises(WorkerBug, match=says) as caught:
        shared.call(method, 60)
    assert "Traceback" in str(caught.value) and not isinstance(caught.value, TunerError)
    assert works(shared) and shared.started == before


def test_half_a_surrogate_pair_does_not_come_through(shared):
    assert shared.call("surrogate", 60) == "? ümlaut"


def test_a_target_that_cannot_be_made_is_said_each_time():
    with Worker("helpers.target:Target", {}) as made:
        for _ in range(2):
            with pytest.raises(WorkerBug, match="greeting"):
                made.call("greet", 60, name="a")


def test_the_environment_is_passed():
    with Worker("helpers.target:Target", {"greeting": ""}, {"TUNER_TEST_VARIABLE": "ü"}) as made:
        assert made.call("variable", 60, name="TUNER_TEST_VARIABLE") == "ü"
    assert "TUNER_TEST_VARIABLE" not in os.environ


def test_a_megabyte_on_stdout_blocks_nothing_and_its_end_is_kept(shared):
    assert shared.call("print", 60, size=2**20) == 2**20
    assert shared.log_tail().endswith("the end\nfrom a child\n")
    assert len(shared.log_tail()) <= worker.LOG_TAIL_BYTES < len(shared.log_tail(2**21))
    works(shared)
    assert shared.log_tail() == ""  # a call's log is its own


# ---- deadlines and deaths --------------------------------------------------------------------------


def test_a_deadline_kills_the_process_and_what_it_started(fresh, tmp_path):
    works(fresh)
    with pytest.raises(WorkerTimeout, match=r"no answer within 1 s while in spinning") as caught:
        fresh.call("spin", 1, pid_file=str(tmp_path / "pid"))
    assert caught.value.phase == "spinning"
    assert gone_within(10, int((tmp_path / "pid").read_text()))
    assert works(fresh) and fresh.started == 2


def test_a_call_within_its_deadline_is_no_timeout(shared):
    shared.call("sleep", 30, seconds=0.2)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("how", "says"),
    [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGSEGV, "was ended by SIGSEGV"),
     (signal.SIGABRT, "was ended by SIGABRT"), (signal.SIGBUS, "was ended by SIGBUS"), (0, "exited with code 7")],
)  # fmt: skip
def test_a_death_is_noticed_ahead_of_the_deadline_and_named(shared, how, says):
    works(shared)
    with pytest.raises(WorkerCrash, match=f"the worker {says} while in dying"):
        shared.call("die", NEVER_S, how=how)
    assert works(shared)


@pytest.mark.timeout(60)
def test_a_death_from_outside_is_noticed_ahead_of_the_deadline(fresh, tmp_path):
    def kill() -> None:
        os.kill(int(written(tmp_path / "pid")), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(WorkerCrash, match="SIGKILL while in waiting"):
        fresh.call("wait", NEVER_S, pid_file=str(tmp_path / "pid"))
    thread.join()
    assert works(fresh)


def test_a_death_between_two_calls_goes_unnoticed(fresh):
    pid = fresh.call("greet", 60, name="a")["pid"]
    os.kill(pid, signal.SIGKILL)
    fresh.process.join()
    assert works(fresh) and fresh.started == 2


@pytest.mark.timeout(60)
def test_a_death_is_noticed_though_a_fork_holds_the_pipe(fresh):
    works(fresh)
    with pytest.raises(WorkerCrash, match="SIGKILL"):
        fresh.call("die_but_leave_a_fork", NEVER_S)
    assert works(fresh)


def test_a_failure_is_one_line_for_a_user():
    assert issubclass(WorkerFailure, TunerError)


# ---- the end ---------------------------------------------------------------------------------------


def test_the_log_is_gone_with_the_worker(fresh):
    works(fresh)
    pid, log = fresh.process.pid, fresh.log_path
    assert log.exists()
    fresh.close()
    assert not log.exists() and gone_within(10, pid)


@pytest.mark.timeout(60)
def test_a_worker_that_was_killed_for_good_starts_no_process(fresh, tmp_path):
    works(fresh)
    waiting = []

    def wait() -> None:
        with pytest.raises(WorkerCrash):
            fresh.call("wait", NEVER_S, pid_file=str(tmp_path / "pid"))
        with pytest.raises(WorkerCrash, match="was ended"):
            fresh.call("greet", 60, name="a")
        waiting.append("told")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    written(tmp_path / "pid")
    fresh.kill()
    thread.join()
    assert waiting == ["told"] and fresh.started == 1


MAIN = """
import json, sys, time
from tuner.execution.worker import Worker
if __name__ == "__main__":
    one, two = Worker("helpers.target:Target", {"greeting": ""}), Worker("helpers.target:Target", {"greeting": ""})
    pids = [w.call("greet", 60, name="")["pid"] for w in (one, two)]
    print(json.dumps(pids), flush=True)
    one.call("spin", 600, pid_file=sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_main_process(tmp_path, how):
    """One worker spins with a child, the other waits: both and the child go with it."""
    script = tmp_path / "main.py"
    script.write_text(MAIN)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)]),
    }
    main = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "pid")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
    )  # fmt: skip
    pids = json.loads(main.stdout.readline())
    pids.append(int(written(tmp_path / "pid")))
    assert all(map(alive, pids))
    main.send_signal(how)
    main.wait(10)
    assert gone_within(10, *pids)
