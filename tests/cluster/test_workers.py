"""What workers are asked before they are used, and how a task ends that nobody wants any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("distributed")

import distributed
from helpers.crew import enlist, perform
from helpers.processes import wait_until

from tuner.cluster import connect, versions, worker
from tuner.cluster.workers import Crew, Workers
from tuner.errors import DeviceError
from tuner.workers import interruption

pytestmark = pytest.mark.slow
HERE = {"Python": "3.11", "tuner": "0.1.0", "torch": "2.9.1"}


@pytest.fixture(scope="module")
def client() -> Iterator[distributed.Client]:
    with connect.connected(connect.LOCAL, ["cpu:0-0"], lambda text: None) as made:
        yield made


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (HERE, ""),
        (HERE | {"torch": "2.8.0"}, "it has torch 2.8.0, here is 2.9.1"),
        (HERE | {"tuner": ""}, "it has no tuner, here is 0.1.0"),
        (HERE | {"Python": "3.12", "torch": "2.8.0"}, "it has Python 3.12, here is 3.11"),
    ],
)
def test_versions_that_differ_are_said_in_words(there: dict[str, str], says: str) -> None:
    assert versions.difference(HERE, there) == says


def test_versions_are_asked_of_whoever_has_no_tuner() -> None:
    from distributed.protocol import pickle

    check = "import pickle, sys; sys.modules['tuner'] = None; print(pickle.load(sys.stdin.buffer)()['torch'])"
    done = subprocess.run([sys.executable, "-c", check], input=pickle.dumps(versions.asking()), capture_output=True)
    assert done.stdout.decode().strip() == versions.asking()()["torch"], done.stderr.decode()


def test_a_worker_of_other_versions_ends_the_command(client: distributed.Client) -> None:
    def asking() -> Callable[[], dict[str, str]]:
        there = worker.DEVICE_VARIABLE

        def ask() -> dict[str, str]:
            return {"torch": "1.0" if there in os.environ else "2.0"}

        return ask

    workers = Workers(client, lambda device, text: None, Crew(asking, enlist, perform))
    with pytest.raises(DeviceError, match=r"worker tcp://.*: it has torch 1.0, here is 2.0; install the same on both"):
        workers.gather(30)
    workers.close()


def _until_nobody_wants(path: Path) -> None:
    here = distributed.get_worker()
    with worker._heeding(here, here.get_current_task()):
        path.touch()
        try:
            while True:
                time.sleep(0.05)
                interruption.check()
        except KeyboardInterrupt:
            path.write_text("interrupted\n")


def test_a_task_that_is_cancelled_is_interrupted(client: distributed.Client, tmp_path: Path) -> None:
    path = tmp_path / "said"
    future = client.submit(_until_nobody_wants, path, pure=False)
    wait_until(path.exists, lambda: True)
    time.sleep(1.2)  # longer than it takes to look: nobody is interrupted who is wanted
    assert path.read_text() == ""
    client.cancel([future])
    wait_until(lambda: path.read_text() == "interrupted\n", lambda: True)
