"""One search's trials spread over several devices of one kind: a pipeline each, which measures in a thread of its own.

Who joins later takes a share of what comes from then on. A trial that a device fails at goes to another one; a
device that fails for the third time leaves. The first good trials are measured on both, to see whether the
devices are as fast.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tuner.errors import DeviceFailed
from tuner.execution.likeness import Likeness
from tuner.execution.pipeline import Pipeline, UnderWay
from tuner.records import Evaluation, Status
from tuner.template.render import Candidate
from tuner.workers import interruption
from tuner.workers.interruption import Interruption

FAILURES = 3  # of a device, then it is left out; of a trial, then it is its own fault
LOOK_EVERY_S = 0.2


@dataclass
class Member:
    """A device that takes part."""

    pipeline: Pipeline
    interruption: Interruption = field(default_factory=Interruption)
    given: threading.Condition = field(default_factory=threading.Condition)  # something to measure, or the end
    likeness: Likeness = field(default_factory=Likeness)  # to the device of the search
    probes: dict[int, Evaluation] = field(default_factory=dict)  # points to compare by, as the search's device has them
    left: bool = False

    @property
    def device(self) -> str:
        return self.pipeline.job.torch_device

    def give(self, number: int, candidate: UnderWay) -> None:
        with self.given:
            self.pipeline.take_over(number, candidate)
            self.given.notify()


@dataclass(frozen=True)
class _Said:
    """What a member's thread has to say: a result, or how measuring failed."""

    member: Member
    number: int
    result: tuple[int, str, Evaluation] | None = None
    failure: BaseException | None = None


class Spread:
    """Implements `search.Evaluator` on rendered candidates, over the pipelines of several devices.

    `failed` counts a device's failure and returns how many it has had; `say` is told what a reader should know.
    """

    def __init__(self, home: Pipeline, failed: Callable[[str], int], say: Callable[[str], None]) -> None:
        self.home, self.failed, self.say = Member(home), failed, say
        self.members: list[Member] = [self.home]
        self.lock = threading.Lock()
        self.said: queue.SimpleQueue[_Said] = queue.SimpleQueue()
        self.failures: Counter[int] = Counter()  # number of a trial -> devices that failed at it
        self.probe_number = -1
        self.begun: dict[int, UnderWay] = {}  # what the search waits for
        self.closed = False
        self.threads: list[threading.Thread] = []
        self._begin(self.home)

    # ---- the devices ------------------------------------------------------------------------------

    def invited(self, pipeline: Pipeline) -> Member:
        """A device that prepares to join; `join` it, with its interruption heeded. It is interrupted at the end."""
        member = Member(pipeline)
        with self.lock:
            self.members.append(member)
            member.left = True  # until it joins
            if self.closed:
                member.interruption.set()
        return member

    def join(self, member: Member) -> None:
        """Measure until the search needs it no more; called in the device's own thread.

        It returns as well when the device is left out.
        """
        member.pipeline.best_ms = self.home.pipeline.best_ms
        member.left = False
        self._work(member)

    def _begin(self, member: Member) -> None:
        def work() -> None:
            with member.interruption.heeded():
                self._work(member)

        thread = threading.Thread(target=work, name=f"measure {member.device}", daemon=True)
        self.threads.append(thread)
        thread.start()

    def _work(self, member: Member) -> None:
        """A member's thread: measure what is given, until it is interrupted or left out."""
        try:
            while not member.left:
                with member.given:
                    if not member.pipeline.under_way:
                        member.given.wait(LOOK_EVERY_S)
                interruption.check()
                if member.pipeline.under_way:
                    self.said.put(self._measured(member))
        except KeyboardInterrupt:
            pass

    def _measured(self, member: Member) -> _Said:
        try:
            result = member.pipeline.next()
            return _Said(member, result[0], result)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # the search's thread raises it
            return _Said(member, member.pipeline.last, failure=failure)

    # ---- the search -------------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        with self.lock:
            there = sum(not member.left for member in self.members)
        ahead = self.home.pipeline.capacity  # of a pool; without one, each device compiles and measures in turn
        return max(ahead, there * min(2, ahead))

    @property
    def waited_s(self) -> float:
        """How long the search's own device was used by others."""
        return self.home.pipeline.waited_s

    def submit(self, number: int, candidate: Candidate, leaves: tuple[str, ...] = ()) -> None:
        """Compile and measure it on the device that has least to do."""
        member = self._idlest()
        with member.given:
            self.begun[number] = member.pipeline.submit(number, candidate, leaves)
            member.given.notify()

    def _idlest(self, but: Member | None = None) -> Member:
        with self.lock:
            there = [member for member in self.members if not member.left]
        others = [member for member in there if member is not but]
        return min(others or there, key=lambda member: len(member.pipeline.under_way))

    def next(self) -> tuple[int, str, Evaluation]:
        """The next result, of whatever device. Raises DeviceFailed when the search's own device is left out."""
        while True:
            interruption.check()
            try:
                said = self.said.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                continue
            result = said.result
            if said.failure is not None:
                result = self._after(said.member, said.number, said.failure)
            elif said.number in said.member.probes:
                self._compare(said)
                continue
            elif said.number not in self.begun:
                continue  # of a device that was left out: it went on with what another one has measured since
            else:
                self._probe(said)
            if result is not None:
                self._tell_all(result[2])
                return result

    def _tell_all(self, evaluation: Evaluation) -> None:
        """Every device hurries past what is hopeless beside the best of all."""
        if evaluation.status is Status.OK:
            for each in self.members:
                each.pipeline.best_ms = min(evaluation.latency_ms, each.pipeline.best_ms or evaluation.latency_ms)

    # ---- failures ---------------------------------------------------------------------------------

    def _after(self, member: Member, number: int, failure: BaseException) -> tuple[int, str, Evaluation] | None:
        """The trial goes elsewhere, and with its third failure is a crash of its own; the device may be left out."""
        if not isinstance(failure, DeviceFailed):
            raise failure
        probe = member.probes.pop(number, None)
        failures = FAILURES  # of one that was left out meanwhile, which counts no more
        if not member.left and (failures := self.failed(member.device)) >= FAILURES:
            self._leave_out(member, failure)
        if probe is not None or number not in self.begun or self._has(number):
            return None
        self.failures[number] += 1
        if self.failures[number] >= FAILURES:
            detail = f"devices failed at it {FAILURES} times: {failure}"
            return number, self.begun.pop(number).candidate.sha256, Evaluation(status=Status.CRASH, detail=detail[:500])
        self.say(f"{failure}; its trial is measured again ({failures} of {FAILURES})")
        self._idlest(but=member).give(number, self.begun[number])
        return None

    def _has(self, number: int) -> bool:
        """Whether some device has the trial already."""
        return any(number in each.pipeline.under_way for each in self.members)

    def _leave_out(self, member: Member, failure: DeviceFailed) -> None:
        self.say(f"{member.device} failed {FAILURES} times and is left out: {failure}")
        if member is self.home:
            raise DeviceFailed(f"{member.device} is left out: {failure}")
        member.left = True
        with member.given:
            waiting = member.pipeline.give_up()
            member.given.notify()
        for number, candidate in waiting.items():
            if number in self.begun:
                self._idlest().give(number, candidate)

    # ---- whether the devices are as fast -----------------------------------------------------------

    def _probe(self, said: _Said) -> None:
        """Have the other devices measure what the search's own has just measured."""
        assert said.result is not None
        begun, there = self.begun.pop(said.number), said.result[2]
        for member in self.members[1:] if said.member is self.home else ():
            if not member.left and member.likeness.wants(there):
                member.likeness.asked += 1
                member.probes[self.probe_number] = there
                member.give(self.probe_number, begun)
                self.probe_number -= 1

    def _compare(self, said: _Said) -> None:
        assert said.result is not None
        difference = said.member.likeness.told(said.member.probes.pop(said.number), said.result[2])
        if difference is not None:
            self.say(f"{said.member.device} takes {difference} as long as {self.home.device} for the same points")

    # ---- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Interrupt all devices, and wait for the search's own."""
        with self.lock:
            self.closed = True
            members = list(self.members)
        for member in members:
            member.interruption.set()
        for thread in self.threads:
            thread.join()
        for member in members:
            member.pipeline.close()
