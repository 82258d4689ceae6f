"""Worker processes: answers, deadlines, deaths, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.processes import alive, gone_within, written
from helpers.target import (
    Die,
    DieButLeaveAFork,
    Fail,
    Forge,
    Greet,
    Greeter,
    NotJson,
    OpenGreeter,
    Peculiar,
    Print,
    Refuse,
    Sleep,
    Spin,
    Surrogate,
    Variable,
    Wait,
)

from tuner.errors import ConfigError, ProblemError, TunerError
from tuner.workers import worker
from tuner.workers.protocol import Request
from tuner.workers.worker import Worker, WorkerBug, WorkerCrash, WorkerFailure, WorkerGarbled, WorkerTimeout

NEVER_S = 600.0  # a deadline that no test reaches: its own timeout comes first


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker[Greeter]]:
    with Worker(OpenGreeter()) as made:
        yield made


@pytest.fixture
def fresh() -> Iterator[Worker[Greeter]]:
    with Worker(OpenGreeter()) as made:
        yield made


def works(made: Worker[Greeter]) -> bool:
    return made.call(Greet("you"), 60).text == "Hello, you"


# ---- answers ---------------------------------------------------------------------------------------


def test_calls_are_answered_by_one_process_that_keeps_its_state(fresh: Worker[Greeter]) -> None:
    first, second = fresh.call(Greet("a"), 60), fresh.call(Greet("b"), 60)
    assert (first.text, second.text, second.calls) == ("Hello, a", "Hello, b", 2)
    assert first.pid == second.pid != os.getpid()
    assert fresh.started == 1


def test_a_fault_comes_through_by_its_type(shared: Worker[Greeter]) -> None:
    with pytest.raises(ConfigError, match="the words"):
        shared.call(Refuse(ConfigError), 60)
    with pytest.raises(ProblemError, match="the words"):  # the nearest that the main process knows
        shared.call(Refuse(Peculiar), 60)
    assert works(shared)


@pytest.mark.parametrize(
    ("request_", "says"),
    [(Fail("plainly"), "ZeroDivisionError: division by zero"), (Fail("strangely"), "Unpicklable"),
     (Fail("exit"), "SystemExit: 3"), (NotJson(), "not JSON serializable|Unable to serialize")],
)  # fmt: skip
def test_a_bug_carries_its_traceback_and_the_process_lives(
    shared: Worker[Greeter], request_: Request[Greeter, Any], says: str
) -> None:
    before = shared.started
    with pytest.raises(WorkerBug, match=says) as caught:
        shared.call(request_, 60)
    assert "Traceback" in str(caught.value) and not isinstance(caught.value, TunerError)
    assert works(shared) and shared.started == before


def test_half_a_surrogate_pair_does_not_come_through(shared: Worker[Greeter]) -> None:
    assert shared.call(Surrogate(), 60) == "? ümlaut"


def test_a_target_that_cannot_be_made_is_said_each_time() -> None:
    with Worker(OpenGreeter(None)) as made:
        for _ in range(2):
            with pytest.raises(WorkerBug, match="no greeting"):
                made.call(Greet("a"), 60)


def test_the_environment_is_passed() -> None:
    with Worker(OpenGreeter(""), {"TUNER_TEST_VARIABLE": "ü"}) as made:
        assert made.call(Variable("TUNER_TEST_VARIABLE"), 60) == "ü"
    assert "TUNER_TEST_VARIABLE" not in os.environ


def test_a_megabyte_on_stdout_blocks_nothing_and_its_end_is_kept(shared: Worker[Greeter]) -> None:
    assert shared.call(Print(2**20), 60) == 2**20
    assert shared.log_tail().endswith("the end\nfrom a child\n")
    assert len(shared.log_tail()) <= worker.LOG_TAIL_BYTES < len(shared.log_tail(2**21))
    works(shared)
    assert shared.log_tail() == ""  # a call's log is its own


# ---- deadlines and deaths --------------------------------------------------------------------------


def test_a_deadline_kills_the_process_and_what_it_started(fresh: Worker[Greeter], tmp_path: Path) -> None:
    works(fresh)
    with pytest.raises(WorkerTimeout, match=r"no answer within 1 s while in spinning") as caught:
        fresh.call(Spin(tmp_path / "pid"), 1)
    assert caught.value.phase == "spinning"
    assert gone_within(10, int((tmp_path / "pid").read_text()))
    assert works(fresh) and fresh.started == 2


def test_a_call_within_its_deadline_is_no_timeout(shared: Worker[Greeter]) -> None:
    shared.call(Sleep(0.2), 30)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("how", "says"),
    [(signal.SIGKILL, "was ended by SIGKILL"), (signal.SIGSEGV, "was ended by SIGSEGV"),
     (signal.SIGABRT, "was ended by SIGABRT"), (signal.SIGBUS, "was ended by SIGBUS"), (0, "exited with code 7")],
)  # fmt: skip
def test_a_death_is_noticed_ahead_of_the_deadline_and_named(shared: Worker[Greeter], how: int, says: str) -> None:
    works(shared)
    with pytest.raises(WorkerCrash, match=f"the worker {says} while in dying"):
        shared.call(Die(how), NEVER_S)
    assert works(shared)


@pytest.mark.timeout(60)
def test_a_death_from_outside_is_noticed_ahead_of_the_deadline(fresh: Worker[Greeter], tmp_path: Path) -> None:
    def kill() -> None:
        os.kill(int(written(tmp_path / "pid", lambda: fresh.pid is not None)), signal.SIGKILL)

    works(fresh)
    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(WorkerCrash, match="SIGKILL while in waiting"):
        fresh.call(Wait(tmp_path / "pid"), NEVER_S)
    thread.join()
    assert works(fresh)


def test_a_death_between_two_calls_goes_unnoticed(fresh: Worker[Greeter]) -> None:
    pid = fresh.call(Greet("a"), 60).pid
    os.kill(pid, signal.SIGKILL)
    assert fresh.process is not None
    fresh.process.join()
    assert works(fresh) and fresh.started == 2


@pytest.mark.timeout(60)
def test_a_death_is_noticed_though_a_fork_holds_the_pipe(fresh: Worker[Greeter]) -> None:
    works(fresh)
    with pytest.raises(WorkerCrash, match="SIGKILL"):
        fresh.call(DieButLeaveAFork(), NEVER_S)
    assert works(fresh)


# ---- what comes up the pipe --------------------------------------------------------------------------


def line(**fields: object) -> bytes:
    return json.dumps({"id": 1, "kind": "answer", "text": "1", **fields}).encode() + b"\n"


FORGED = {
    "no JSON": b"nonsense\n",
    "another kind": line(kind="order"),
    "of another request": line(id=7),
    "another type": line(text='"one"'),
    "a fault that is none": line(kind="fault", fault="Exception", text=""),
    "one key more": line(more=1),
}


@pytest.mark.parametrize("sent", FORGED.values(), ids=FORGED)
def test_what_is_no_answer_is_this_calls_failure_and_the_next_is_clean(sent: bytes) -> None:
    with Worker(OpenGreeter()) as made:
        with pytest.raises(WorkerGarbled, match="what is no answer"):
            made.call(Forge(sent), 60)
        assert works(made)


@pytest.mark.timeout(60)
def test_half_a_line_does_not_hold_the_caller_beyond_its_deadline(fresh: Worker[Greeter]) -> None:
    works(fresh)
    with pytest.raises(WorkerTimeout, match="no answer within 1 s"):
        fresh.call(Forge(b'{"id": ', pause_s=600), 1)
    assert works(fresh)


def test_a_second_answer_is_not_taken_for_the_next_calls(fresh: Worker[Greeter]) -> None:
    """The first one is believed: who can write it could keep back the second. That is what the judge is for."""
    assert fresh.call(Forge(line(text="5"), pause_s=0.3), 60) == 5
    time.sleep(0.5)  # by now the service's own has come
    assert works(fresh) and fresh.started == 2


@pytest.mark.timeout(60)
def test_a_killed_fork_server_is_started_again(fresh: Worker[Greeter]) -> None:
    fork_server = psutil.Process(fresh.call(Greet("a"), 60).pid).parent()
    assert fork_server is not None
    fresh.stop()
    fork_server.kill()
    assert works(fresh)


def test_a_failure_is_one_line_for_a_user() -> None:
    assert issubclass(WorkerFailure, TunerError)


# ---- the end ---------------------------------------------------------------------------------------


def test_the_log_is_gone_with_the_worker(fresh: Worker[Greeter]) -> None:
    works(fresh)
    pid, log = fresh.pid, fresh.log_path
    assert pid is not None and log.exists()
    fresh.close()
    assert not log.exists() and gone_within(10, pid)


@pytest.mark.timeout(60)
def test_a_worker_that_was_killed_for_good_starts_no_process(fresh: Worker[Greeter], tmp_path: Path) -> None:
    works(fresh)
    waiting = []

    def wait() -> None:
        with pytest.raises(WorkerCrash):
            fresh.call(Wait(tmp_path / "pid"), NEVER_S)
        with pytest.raises(WorkerCrash, match="was ended"):
            fresh.call(Greet("a"), 60)
        waiting.append("told")

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    written(tmp_path / "pid", lambda: fresh.pid is not None)
    fresh.kill()
    thread.join()
    assert waiting == ["told"] and fresh.started == 1


MAIN = """
import json, sys, time
from pathlib import Path
from helpers.target import Greet, OpenGreeter, Spin
from tuner.workers.worker import Worker
if __name__ == "__main__":
    one, two = Worker(OpenGreeter()), Worker(OpenGreeter())
    pids = [w.call(Greet(""), 60).pid for w in (one, two)]
    print(json.dumps(pids), flush=True)
    one.call(Spin(Path(sys.argv[1])), 600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_main_process(tmp_path: Path, how: int) -> None:
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
    assert main.stdout is not None
    pids = json.loads(main.stdout.readline())
    pids.append(int(written(tmp_path / "pid", lambda: main.poll() is None)))
    assert all(map(alive, pids))
    main.send_signal(how)
    main.wait(10)
    assert gone_within(10, *pids)


def test_a_script_that_starts_one_at_its_top_level_is_not_run_again(tmp_path: Path) -> None:
    """As a user writes who has no `if __name__ == "__main__"`."""
    script = tmp_path / "script.py"
    script.write_text(
        "from helpers.target import Greet, OpenGreeter\nfrom tuner.workers.worker import Worker\n"
        "print('executed', flush=True)\n"
        "with Worker(OpenGreeter()) as worker:\n    print(worker.call(Greet('you'), 100))\n"
    )
    tests = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[0] == "executed" and len(done.stdout.splitlines()) == 2, done.stderr
