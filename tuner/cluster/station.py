"""Where a search measures when it does so on a cluster: on all devices of one kind, each question on any of them."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tuner.cluster import bay
from tuner.cluster.bay import Subject, Trial
from tuner.cluster.tasks import Task
from tuner.cluster.worker import Answer
from tuner.cluster.workers import LOOK_EVERY_S, Waiting, Workers
from tuner.errors import DeviceFailed
from tuner.execution.likeness import Likeness
from tuner.execution.spread import FAILURES
from tuner.measurement.protocol import Description, SelfCheckAnswer
from tuner.records import Evaluation, Performance, Status
from tuner.search.contest import Told
from tuner.search.deciding import Decision, Final
from tuner.template.render import Candidate
from tuner.workers import interruption
from tuner.workers.protocol import fault


class Remote:
    """Implements `search.Station`. `searched` is called when the trials are done, and the final begins."""

    def __init__(
        self, workers: Workers, kind: str, subject: Subject, told: Told, searched: Callable[[], None] = lambda: None
    ) -> None:
        self.workers, self.kind, self.subject, self.told, self.searched = workers, kind, subject, told, searched
        workers.client.subscribe_topic(subject.topic, self._hear)

    def _hear(self, event: tuple[float, Any]) -> None:
        what, values = event[1]
        if what == "stage":
            self.told.stage(str(values[0]))
        elif what == "final":
            self.told.final(int(values[0]), int(values[1]))

    def describe(self) -> Description:
        return self.workers.ask(self.kind, self.subject, bay.describe)

    def build_ahead(self, candidates: Sequence[Candidate]) -> None:
        """Nothing: it is not known yet which workers will compile."""

    def prepare(self) -> None:
        self.workers.ask(self.kind, self.subject, bay.prepare)

    def self_check(self) -> SelfCheckAnswer:
        return self.workers.ask(self.kind, self.subject, bay.self_check)

    def eager(self) -> Performance:
        return self.workers.ask(self.kind, self.subject, bay.eager)

    @contextlib.contextmanager
    def trials(self, floor_ms: float, best_ms: float | None) -> Iterator[Fleet]:
        with contextlib.closing(Fleet(self.workers, self.kind, self.subject, floor_ms, best_ms, self.told)) as fleet:
            yield fleet

    def decide(self, final: Final) -> Decision:
        self.searched()
        return self.workers.ask(self.kind, self.subject, partial(bay.decide, final=final))

    def close(self) -> None:
        self.workers.client.unsubscribe_topic(self.subject.topic)
        self.workers.let_go(self.kind, self.subject)


@dataclass
class _UnderWay:
    """A trial, or with `first` the same point on another device than the one that measured it first."""

    candidate: Candidate
    leaves: tuple[str, ...]
    task: Task | None = None
    failures: int = 0
    first: Evaluation | None = None


class Fleet:
    """Implements `station.Measuring`: trials on whatever devices of a kind are there when each is placed."""

    waited_s = 0.0  # a device that others use is not waited for here

    def __init__(
        self, workers: Workers, kind: str, subject: Subject, floor_ms: float, best_ms: float | None, told: Told
    ) -> None:
        self.workers, self.kind, self.subject, self.told = workers, kind, subject, told
        self.floor_ms, self.best_ms = floor_ms, best_ms
        self.under_way: dict[int, _UnderWay] = {}  # negative numbers: points to compare devices by
        self.done: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.waiting = Waiting(workers, kind)
        self.home = ""  # the worker that the others' speed is compared with
        self.likeness: dict[str, Likeness] = {}
        self.probe_number = 0

    @property
    def capacity(self) -> int:
        return max(1, sum(each.slots for each in self.workers.of(self.kind).values()))

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...] = ()) -> None:
        """Have it compiled and measured on any device; `leaves` are what its variant leaves to PyTorch."""
        self.under_way[number] = _UnderWay(candidate, leaves)
        self._send(number)

    def _send(self, number: int, on: tuple[str, ...] = ()) -> None:
        trial = self.under_way[number]
        asked = Trial(trial.candidate, trial.leaves, self.best_ms, self.floor_ms)
        call, done = partial(bay.measure, trial=asked), partial(self.done.put, number)
        trial.task = self.workers.submit(self.kind, self.subject, call, done, on=on, only=trial.first is not None)

    def next(self) -> tuple[int, str, Evaluation]:
        """The next result, of whatever device. Raises DeviceFailed when none is left, TunerError for what is wrong."""
        while True:
            interruption.check()
            try:
                number = self.done.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                self.waiting.look()
                continue
            trial = self.under_way[number]
            assert trial.task is not None
            answer = trial.task.answer()
            if answer is None:  # it died with its worker
                if trial.first is None:
                    self._send(number)
                else:  # another point will tell
                    del self.under_way[number]
                continue
            evaluation = self._failed(number, trial, answer) if answer.kind else answer.value
            if evaluation is None:
                continue
            del self.under_way[number]
            if trial.first is not None:
                self._compare(answer.worker, trial.first, evaluation)
                continue
            if evaluation.status is Status.OK:
                self.best_ms = min(evaluation.latency_ms, self.best_ms or evaluation.latency_ms)
                self._probe(answer.worker, trial, evaluation)
            return number, trial.candidate.sha256, evaluation

    def _failed(self, number: int, trial: _UnderWay, answer: Answer) -> Evaluation | None:
        """The trial goes elsewhere, and with its third failure is a crash of its own. Raises what no device did."""
        if answer.kind != DeviceFailed.__name__:
            raise fault(answer.kind, answer.fault)
        self.workers.count_failure(answer.worker, answer.fault)
        trial.failures += 1
        if trial.first is not None:  # another point will tell
            del self.under_way[number]
            return None
        if trial.failures >= FAILURES or not answer.worker:
            detail = f"devices failed at it: {answer.fault}"
            return Evaluation(status=Status.CRASH, detail=detail[:500])
        others = tuple(each for each in self.workers.of(self.kind) if each != answer.worker)
        self._send(number, others)
        return None

    # ---- whether the devices are as fast -----------------------------------------------------------

    def _probe(self, address: str, trial: _UnderWay, evaluation: Evaluation) -> None:
        """Have the other devices measure what the first has just measured."""
        self.home = self.home or address
        for other in self.workers.of(self.kind) if address == self.home else ():
            likeness = self.likeness.setdefault(other, Likeness())
            if other != self.home and likeness.wants(evaluation):
                likeness.asked += 1
                self.probe_number -= 1
                self.under_way[self.probe_number] = _UnderWay(trial.candidate, trial.leaves, first=evaluation)
                self._send(self.probe_number, (other,))

    def _compare(self, address: str, first: Evaluation, other: Evaluation) -> None:
        members = self.workers.of(self.kind)
        if address not in self.likeness or address not in members or self.home not in members or address == self.home:
            return
        difference = self.likeness[address].told(first, other)
        if difference is not None:
            one, home = members[address], members[self.home]
            self.told.stage(
                f"{one.device} of {one.host} takes {difference} as long as {home.device} of {home.host} "
                "for the same points"
            )

    def close(self) -> None:
        """Give up what is under way; whoever measures it is interrupted."""
        self.workers.cancel([trial.task for trial in self.under_way.values() if trial.task is not None])
        self.under_way.clear()
