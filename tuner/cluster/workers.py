"""The workers of a cluster as the coordinator knows them: who is there, what they hold, and tasks for them.

Dask places the tasks: a worker's resource is the kind of its device, and a task asks for one of its kind. A task
whose worker dies goes to another one by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import distributed

from tuner.cluster import versions, worker
from tuner.cluster.bay import Opened, Subject
from tuner.cluster.tasks import LOST, Task
from tuner.cluster.worker import Answer, Enlisted
from tuner.errors import ConfigError, DeviceError, DeviceFailed
from tuner.execution.spread import FAILURES
from tuner.records import Environment
from tuner.workers import interruption
from tuner.workers.protocol import fault

LOOK_EVERY_S = 0.2
MUSTER_EVERY_S = 1.0
UNPLACED = 3  # times in a row that a task is found nowhere, then it is sent again
ALONE_S = 120.0  # without a worker of its kind, then a search ends; what it has measured is kept

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Crew:
    """What runs on workers; a simulation has others."""

    versions: Callable[[], Callable[[], dict[str, str]]] = versions.asking
    enlist: Callable[..., Any] = worker.enlist
    perform: Callable[[Subject, Any], Answer] = worker.perform


def kind_of(environment: Environment) -> str:
    """The name of the resource that devices with this very environment are."""
    return f"tuner-{hashlib.sha256(environment.model_dump_json().encode()).hexdigest()[:16]}"


class Workers:
    """Who is there, looked after in a thread of its own. `note` is told what a reader should know of a worker."""

    def __init__(self, client: distributed.Client, note: Callable[[str, str], None], crew: Crew | None = None) -> None:
        self.client, self.note, self.crew = client, note, crew or Crew()
        self.members: dict[str, Enlisted] = {}
        self.refused: dict[str, str] = {}  # worker -> why
        self.failures: Counter[str] = Counter()  # of a worker's device
        self.lock = threading.Lock()
        self.under_way: set[Task] = set()
        self.closed = threading.Event()
        self.bug: BaseException | None = None
        self.thread = threading.Thread(target=self._look_after, name="workers", daemon=True)

    # ---- who is there -----------------------------------------------------------------------------

    def gather(self, within_s: float) -> None:
        """Wait for the first worker that can be used, and look after them from then on.

        Raises DeviceError when there is none in time, for versions that differ, and where every worker is refused.
        """
        deadline = time.monotonic() + within_s
        while not self.members:
            self.muster(strict=True)
            if self.refused and not self.members:
                raise DeviceError(f"--cluster: no worker can be used: {'; '.join(self.refused.values())}")
            if not self.members:
                if time.monotonic() > deadline:
                    address = self.client.scheduler.address if self.client.scheduler else ""
                    raise DeviceError(
                        f"--cluster: no worker has come within {within_s:g} s; start one for each device: "
                        f"dask worker {address} --nthreads 4"
                    )
                interruption.check()
                time.sleep(LOOK_EVERY_S)
        self.thread.start()

    def _look_after(self) -> None:
        while not self.closed.wait(MUSTER_EVERY_S):
            try:
                self.muster()
                self.place_again()
            except LOST:  # a scheduler that is gone is said by whoever waits for a result
                pass
            except BaseException as bug:  # whoever waits for a worker raises it
                self.bug = bug
                return

    def muster(self, strict: bool = False) -> None:
        """See who has come and who has left. `strict`: versions that differ raise DeviceError."""
        there = set(self.client.scheduler_info()["workers"])
        for gone in [address for address in self.members if address not in there]:
            with self.lock:
                left = self.members.pop(gone)
            self.note(left.host, f"{left.device} ({gone}) has left")
        for gone in [address for address in self.refused if address not in there]:
            del self.refused[gone]
        new = sorted(there - self.members.keys() - self.refused.keys())
        if new:
            self._enlist(self._of_equal_versions(new, strict))

    def _of_equal_versions(self, new: Iterable[str], strict: bool) -> list[str]:
        ask = self.crew.versions()
        here = ask()
        alike = []
        for address, there in self._run(ask, new).items():
            different = versions.difference(here, there)
            if different and strict:
                raise DeviceError(f"--cluster: worker {address}: {different}; install the same on both")
            if different:
                self._refuse(address, different)
            else:
                alike.append(address)
        return alike

    def _enlist(self, new: Iterable[str]) -> None:
        for address, said in self._run(self.crew.enlist, new, kind_of).items():
            if isinstance(said, str):
                self._refuse(address, said)
                continue
            twin = next((other for other, each in self.members.items() if _share(each, said)), None)
            if twin is not None:
                self._refuse(address, f"{said.device} of {said.host} is already held by worker {twin}")
                self._run(worker.discharge, [address], said.kind)
                continue
            with self.lock:
                self.members[address] = said
            self.note(said.host, f"{said.device} ({address}): {said.environment.words}")

    def _refuse(self, address: str, why: str) -> None:
        self.refused[address] = f"worker {address}: {why}"
        self.note("", f"refused: {self.refused[address]}")

    def _run(self, function: Callable[..., Any], addresses: Iterable[str], *arguments: Any) -> dict[str, Any]:
        """What each of these workers says; one that is gone meanwhile says nothing, a bug there is raised."""
        found: dict[str, Any] = {}
        if not (wanted := list(addresses)):
            return found
        for address, said in self.client.run(function, *arguments, workers=wanted, on_error="return").items():
            if isinstance(said, OSError):
                continue
            if isinstance(said, BaseException):
                raise said
            found[address] = said
        return found

    def kinds(self, wanted: str = "auto") -> dict[str, Environment]:
        """The kinds of devices that are there, of those that `--device` wants. Raises ConfigError for none."""
        with self.lock:
            there = {each.kind: each.environment for each in self.members.values()}
        found = {kind: env for kind, env in there.items() if wanted in ("auto", env.device_kind)}
        if not found:
            names = ", ".join(sorted({environment.words for environment in there.values()}))
            raise ConfigError(f"device: no worker of the cluster holds a device of kind {wanted}; there are: {names}")
        return found

    def of(self, kind: str) -> dict[str, Enlisted]:
        """The workers whose devices are of a kind, by their addresses."""
        with self.lock:
            return {address: each for address, each in self.members.items() if each.kind == kind}

    # ---- tasks ------------------------------------------------------------------------------------

    def submit(
        self,
        kind: str,
        subject: Subject,
        call: Callable[[Opened], Any],
        done: Callable[[], object],
        priority: int = 0,
        on: Iterable[str] = (),
        only: bool = False,
    ) -> Task:
        """A task for a device of a kind, rather one `on` these workers, or one of them `only`.

        `done` is called when it is, in some thread.
        """
        task = Task(self.client, self.crew.perform, kind, (subject, call), priority, list(on), only)

        def ended() -> None:
            with self.lock:
                self.under_way.discard(task)
            done()

        with self.lock:
            self.under_way.add(task)
        task.begin(ended)
        return task

    def place_again(self) -> None:
        """Send those tasks again that the scheduler has no worker for, for it does not look at resources that come."""
        if not self.under_way:
            return
        placed = {str(key) for keys in self.client.processing().values() for key in keys}
        with self.lock:
            pending = list(self.under_way)
        suspects = [task for task in pending if task.key not in placed and task.is_pending and not task.only]
        if suspects:  # an answer may be there, and not be told yet
            futures = [task.future for task in suspects if task.future is not None]
            placed |= {str(key) for key, there in self.client.who_has(futures).items() if there}
        for task in pending:
            if task not in suspects or task.key in placed or not self.of(task.kind):
                task.unplaced = 0
            elif task.unplaced < UNPLACED:
                task.unplaced += 1  # it may be on its way
            else:
                task.again()

    def ask(self, kind: str, subject: Subject, call: Callable[[Opened], AnswerT]) -> AnswerT:
        """Have something done on any device of a kind, ahead of trials; elsewhere where a device fails at it.

        Raises the TunerError that was raised there; DeviceFailed when devices failed at it, or none is left.
        """
        avoided, said = set[str](), ""
        for _ in range(FAILURES):
            waiting, done = Waiting(self, kind), threading.Event()
            others = [each for each in self.of(kind) if each not in avoided]
            task = self.submit(kind, subject, call, done.set, 1, others if avoided else ())
            try:
                while not done.wait(LOOK_EVERY_S):
                    interruption.check()
                    waiting.look()
                answer = task.answer()
            except BaseException:
                self.cancel([task])
                raise
            if answer is None:
                said = "the worker died with its answer"
                continue
            if answer.kind != DeviceFailed.__name__:
                if answer.kind:
                    raise fault(answer.kind, answer.fault)
                return cast(AnswerT, answer.value)
            said = answer.fault
            avoided.add(answer.worker)
            self.count_failure(answer.worker, said)
        raise DeviceFailed(f"devices failed at it {FAILURES} times: {said}")

    def cancel(self, tasks: Iterable[Task]) -> None:
        """Nobody wants these any more: what is not begun never will be, what is under way is interrupted."""
        tasks = list(tasks)
        with self.lock:
            self.under_way.difference_update(tasks)
        for task in tasks:
            task.give_up()
        with contextlib.suppress(*LOST):
            self.client.cancel([task.future for task in tasks if task.future is not None])

    def count_failure(self, address: str, what: str) -> None:
        """A device failed; with the third failure its worker is left out: it leaves the cluster."""
        member = self.members.get(address)
        if member is None:
            return
        self.failures[address] += 1
        self.note(member.host, f"{what} ({self.failures[address]} of {FAILURES})")
        if self.failures[address] >= FAILURES:
            with self.lock:
                self.members.pop(address, None)
            self.note(member.host, f"{member.device} ({address}) failed {FAILURES} times and is left out")
            with contextlib.suppress(*LOST):
                self.client.retire_workers([address])

    def let_go(self, kind: str, subject: Subject) -> None:
        """A search has ended."""
        with contextlib.suppress(*LOST):
            self._run(worker.let_go, self.of(kind), subject.topic)

    def close(self) -> None:
        self.closed.set()
        if self.thread.is_alive():
            self.thread.join()


class Waiting:
    """Of somebody who waits for workers of a kind: says so when there are none, and has enough at some time."""

    def __init__(self, workers: Workers, kind: str) -> None:
        self.workers, self.kind = workers, kind
        self.since: float | None = None

    def look(self) -> None:
        """Raises DeviceFailed when there has been no worker of the kind for too long."""
        if self.workers.bug is not None:
            raise self.workers.bug
        if self.workers.of(self.kind):
            self.since = None
        elif self.since is None:
            self.since = time.monotonic()
            self.workers.note("", "no worker with such a device is left; waiting for one to come")
        elif time.monotonic() - self.since > ALONE_S:
            raise DeviceFailed(f"no worker with such a device has come for {ALONE_S:g} s")


def _share(one: Enlisted, other: Enlisted) -> bool:
    return one.host == other.host and not set(one.parts).isdisjoint(other.parts)
