"""Workers of a cluster that sleep instead of measuring, and write down what they measured."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import distributed

from helpers.searching import took
from helpers.tiny import HERE, changed
from tuner.cluster import connect, versions
from tuner.cluster.bay import Subject, Trial
from tuner.cluster.worker import DEVICE_VARIABLE, Answer, Enlisted
from tuner.cluster.workers import Crew, Workers
from tuner.records import Environment, Evaluation, TensorSpec, Workload
from tuner.template.render import Candidate

WORKLOAD = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))
FOLDER, SLEEP, BAD, SLOW = "folder", "sleep_s", "bad", "slow"


def subject(folder: Path, sleep_s: float = 0.02, bad: str = "", slow: str = "") -> Subject:
    """Of a search whose trials sleep. The device `bad` fails at all of them, `slow` takes twice as long for a point."""
    values = f"{folder}\n{sleep_s}\n{bad}\n{slow}"
    return Subject(f"topic-{folder.name}", "problem.py", values, WORKLOAD, 8.0, 60.0, 60.0)


def ms_of(text: str) -> float:
    """What a candidate takes, 1 to 2 ms."""
    return 1 + int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6


async def enlist(kind_of: Callable[[Environment], str], dask_worker: distributed.Worker) -> Enlisted | str:
    device = os.environ[DEVICE_VARIABLE]
    if device == "cpu:9-9":
        return "it has no compiler"
    kind = kind_of(changed(HERE, cores=8) if device == "cpu:8-8" else HERE)
    await dask_worker.set_resources(**{kind: 1})
    environment = changed(HERE, cores=8) if device == "cpu:8-8" else HERE
    return Enlisted("host", device, (device,), environment, kind, 1)


def perform(asked: Subject, call: partial[Any]) -> Answer:
    """Sleep, then write a line: the trial, the device and the process."""
    folder, sleep_s, bad, slow = asked.problem.split("\n")
    worker, device = distributed.get_worker(), os.environ[DEVICE_VARIABLE]
    trial: Trial = call.keywords["trial"]
    time.sleep(float(sleep_s))
    if device == bad or trial.candidate.text == "cursed":
        return Answer(worker.address, None, "DeviceFailed", f"{device}: fell off the bus")
    if trial.candidate.text == "buggy":
        raise OSError("a bug")
    if trial.candidate.text == "wrong":
        return Answer(worker.address, None, "ProblemError", "the problem is no problem")
    with (Path(folder) / "measured").open("a") as file:
        file.write(f"{trial.candidate.text} {device} {os.getpid()}\n")
    ms = ms_of(trial.candidate.text) * (2 if device == slow else 1)
    evaluation = took(ms)
    assert evaluation.performance is not None
    performance = evaluation.performance.model_copy(update={"samples": 10})
    return Answer(worker.address, evaluation.model_copy(update={"performance": performance}))


async def enlist_one(kind_of: Callable[[Environment], str], dask_worker: distributed.Worker) -> Enlisted | str:
    """Of many workers in one process: each has a device of its own name."""
    kind, name = kind_of(HERE), str(dask_worker.name)
    await dask_worker.set_resources(**{kind: 1})
    return Enlisted("host", name, (name,), HERE, kind, 1)


def perform_asleep(asked: Subject, call: partial[Any]) -> Answer:
    """Sleep alone: nothing is written down, and no two devices are compared."""
    time.sleep(float(asked.problem.split("\n")[1]))
    trial: Trial = call.keywords["trial"]
    return Answer(distributed.get_worker().address, took(ms_of(trial.candidate.text)))


SLEEPERS = Crew(versions.asking, enlist, perform)


class Quiet:
    """Implements `contest.Told`: remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)

    def final(self, done: int, total: int) -> None:
        pass


class Sleepers:
    """A local cluster of sleeping workers, one for each device, each a process."""

    def __init__(self, *devices: str) -> None:
        self.devices = devices
        self.notes: list[str] = []

    def __enter__(self) -> Sleepers:
        self.connected = connect.connected(connect.LOCAL, self.devices, lambda text: None)
        self.client = self.connected.__enter__()
        self.workers = Workers(self.client, lambda device, text: self.notes.append(f"{device} {text}"), SLEEPERS)
        self.workers.gather(60)
        self.wait_for(len(self.devices))
        return self

    def wait_for(self, count: int) -> None:
        end = time.monotonic() + 60
        while len(self.workers.members) + len(self.workers.refused) < count:
            assert time.monotonic() < end, self.notes
            time.sleep(0.05)

    def __exit__(self, *exception: Any) -> None:
        self.workers.close()
        self.connected.__exit__(*exception)

    @property
    def kind(self) -> str:
        return next(each.kind for each in self.workers.members.values())

    def pids(self) -> dict[str, int]:
        """The processes of the workers, by device."""
        pids = self.client.run(os.getpid)
        return {each.device: pids[address] for address, each in self.workers.members.items() if address in pids}


def measured(folder: Path) -> Counter[str]:
    """How often each trial was measured to its end."""
    path = folder / "measured"
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def run(fleet: Any, texts: list[str], after: Mapping[int, Callable[[], object]] | None = None) -> dict[str, Evaluation]:
    """Have all these measured, as a search would; `after` so many results something is done in a thread."""
    found: dict[str, Evaluation] = {}
    sha256s = {Candidate(text).sha256: text for text in texts}
    given = 0
    while len(found) < len(texts):
        while given < len(texts) and given - len(found) < fleet.capacity:
            fleet.submit(given, Candidate(texts[given]))
            given += 1
        number, sha256, evaluation = fleet.next()
        assert sha256s[sha256] == texts[number] and texts[number] not in found, "told twice"
        found[texts[number]] = evaluation
        if after and len(found) in after:
            threading.Thread(target=after[len(found)], daemon=True).start()
    return found
