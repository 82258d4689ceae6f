"""The search loop: a sampler proposes, an evaluator measures, the ledger remembers. No point is measured twice."""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tuner.records import Evaluation, Trial
from tuner.search.ledger import Ledger
from tuner.search.progress import Budget, Progress
from tuner.search.samplers import SAMPLERS
from tuner.search.study import Study
from tuner.space import Point, Space


class Evaluator(Protocol):
    """Measures points; several may be under way, each result comes back once."""

    @property
    def capacity(self) -> int:
        """How many points it wants under way at once."""

    @property
    def waited_s(self) -> float:
        """Seconds so far in which nothing could be measured, for others used the device."""

    def submit(self, number: int, point: Point) -> None: ...

    def next(self) -> tuple[int, str, Evaluation]:
        """Wait for a result: (number, the candidate's sha256, its evaluation)."""


MUCH_SLOWER = 1.25  # a variant's default than another one: what else is known of it can wait


class Search:
    """Proposes points of `space` until the budget is spent; several processes may search on one study."""

    def __init__(
        self,
        space: Space,
        sampler: str,
        seed: int,
        storage: Path | None,
        name: str,
        ledger: Ledger,
        hints: Sequence[Point] = (),
        related: Sequence[Sequence[Trial]] = (),
    ) -> None:
        """`hints` are points that were good elsewhere: measured right after the defaults, where they are valid here.

        `related` has the trials of other searches on such a template, which guide the sampler and are no results here.
        """
        self.space, self.ledger = space, ledger
        self.starts = [*space.defaults, *(p for p in hints if space.has(p) and space.rejected_by(p) is None)]
        self.known: dict[Point, Trial] = {}
        self.under_way: dict[int, Point] = {}
        self.elsewhere: set[Point] = set()  # under way in other searches on this study
        self.progress = Progress(Budget(0))
        self.study = Study(space, storage, name)
        earlier = [trial for trial in ledger.news() if self._learn(trial)]
        self.progress.resumed = len(earlier)
        # A search that goes on draws other points than the ones it began with.
        resumed_seed = random.Random(f"{seed} {len(earlier)}").getrandbits(31) if earlier else seed
        self.sampler = SAMPLERS[sampler](space, resumed_seed)
        self.sampler.believe([[(t.point, t.evaluation.latency_ms) for t in of if space.has(t.point)] for of in related])
        self.progress.rejected = self.sampler.rejected
        for trial in earlier:
            self.sampler.tell(trial.point, trial.evaluation.latency_ms)
        with self.study.alone():
            self.study.catch_up(earlier)
            self._catch_up()

    def run(
        self,
        evaluator: Evaluator,
        budget: Budget,
        observe: Callable[[Progress], None] = lambda progress: None,
    ) -> Progress:
        """Measure points until a limit of `budget` is reached or the space is exhausted.

        Ctrl-C ends the search and keeps what was measured (`stopped == "interrupted"`).
        """
        progress = self.progress
        progress.budget, progress.started, progress.ended = budget, time.monotonic(), None
        waited_before = evaluator.waited_s
        try:
            while True:
                reason, exhausted = progress.limit(), False
                while not reason and not exhausted and len(self.under_way) < evaluator.capacity:
                    with self.study.alone():
                        self._catch_up()
                        if len(progress.trials) + len(self.under_way) + len(self.elsewhere) >= budget.trials:
                            break
                        point = self._propose()
                        progress.expected_gain = self.sampler.expected_gain
                        number = None if point is None else self.study.claim(point)
                    if point is None or number is None:
                        exhausted = True  # but a point that another search gives up may still come to us
                    else:
                        self.under_way[number] = point
                        evaluator.submit(number, point)
                if not self.under_way or (reason and reason != "trials"):
                    progress.stopped = reason or ("exhausted" if exhausted else "trials")
                    break
                self._record(*evaluator.next())
                progress.waited_s = evaluator.waited_s - waited_before
                observe(progress)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
        finally:  # whoever goes on with the study, be it in this process, finds nothing under way
            with self.study.alone():
                for number in self.under_way:
                    self.study.settle(number, None)
            self.under_way.clear()
            progress.ended = time.monotonic()
        return progress

    def _propose(self) -> Point | None:
        under_way = {*self.under_way.values(), *self.elsewhere}
        begun = {*self.known, *under_way}
        first = next((point for point in self.starts if point not in begun and not self._can_wait(point)), None)
        return first or self.sampler.propose(under_way)

    def _can_wait(self, point: Point) -> bool:
        """Whether a start, no default itself, is of a variant whose default is much slower than another one."""
        times = {
            default.variant: trial.evaluation.latency_ms
            for default in self.space.defaults
            if (trial := self.known.get(default)) is not None and trial.evaluation.latency_ms is not None
        }
        mine = times.get(point.variant)
        return point not in self.space.defaults and mine is not None and mine > MUCH_SLOWER * min(times.values())

    def _catch_up(self) -> None:
        """Take over what other searches on this study have measured, and see what they have under way."""
        for trial in self.ledger.news():
            if self._learn(trial):
                self.progress.resumed += 1
                self.sampler.tell(trial.point, trial.evaluation.latency_ms)
        self.elsewhere = set(self.study.others(self.known))

    def _learn(self, trial: Trial) -> bool:
        """Remember a trial of the ledger, unless it is known or of another space."""
        if trial.point in self.known or not self.space.has(trial.point):
            return False
        self.known[trial.point] = trial
        self.progress.trials.append(trial)
        return True

    def _record(self, number: int, sha256: str, evaluation: Evaluation) -> None:
        """Ledger first, then the study: a kill between the two is mended by whoever opens it next."""
        point = self.under_way.pop(number)
        trial = Trial(
            number=number,
            point=point,
            candidate_sha256=sha256,
            evaluation=evaluation,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        )
        self.ledger.append(trial)
        self._learn(trial)
        self.sampler.tell(point, evaluation.latency_ms)
        with self.study.alone():
            self.study.settle(number, trial)
