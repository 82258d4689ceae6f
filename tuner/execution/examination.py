"""The examination of a candidate: it is loaded and called on the bench, examined by the judge, and timed.

Nothing here runs candidate code or holds an oracle: it carries papers and answers between the two.
"""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tuner.execution.spans import Spans
from tuner.measurement.protocol import (
    AskPaper,
    AskPlan,
    AskVerdict,
    BeginExam,
    BenchService,
    JudgeService,
    Launch,
    LayoutFault,
    Load,
    Mark,
    MarkTimed,
    Preparation,
    Sample,
    Sit,
)
from tuner.measurement.statistics import Untrusted, summarise
from tuner.records import Correctness, Evaluation, Performance, Status
from tuner.verification.papers import Values
from tuner.workers.protocol import AnswerT, Request

HOPELESS = 1.5  # beyond this multiple of the best so far a candidate is told its one figure and left
CLOSE = 1.05  # within this multiple of the best it is measured again, interleaved with the best where that can be
SURVIVOR_SAMPLES, CLOSE_SAMPLES = 10, 30
SURVIVOR_S, CLOSE_S = 2.0, 4.0  # where one forward takes long, this much time instead of that many samples
BENIGN = 1.5  # a candidate that is slower by more on other values was timed on values that suited it
STEADY_TRIES = (3, 9, 27)  # samples of either kind of values; noise gets a second look, and a third

ServiceT_co = TypeVar("ServiceT_co", covariant=True)


class Asks(Protocol[ServiceT_co]):
    """How a service is asked: by a worker with a deadline, or in this process."""

    def __call__(self, request: Request[ServiceT_co, AnswerT]) -> AnswerT: ...


class Failed(Exception):
    """A trial ended; the text says how."""


@dataclass
class Sides:
    """Who takes part: the judge, the bench, what they agreed on, and a folder for answers."""

    judge: Asks[JudgeService]
    bench: Asks[BenchService]
    prepared: Preparation
    folder: Path


class Examination:
    """The candidate of one file, on a seat of the bench, and how far it has come.

    `leaves` are the operators of PyTorch that it may leave to it.
    """

    def __init__(self, sides: Sides, seat: str, path: Path, sha256: str, leaves: tuple[str, ...] = ()) -> None:
        self.sides, self.seat, self.path, self.sha256, self.leaves = sides, seat, path, sha256, leaves
        self.status = Status.LOAD

    def evaluate(self, best_ms: float | None, floor_ms: float, beside: str | None) -> Evaluation:
        """Verify, then time. Whatever is wrong with the candidate is in the evaluation, with the phase it was in."""
        started = time.perf_counter()
        correctness: Correctness | None = None
        performance: Performance | None = None
        detail, spans = "", Spans()
        try:
            with spans.during("load"):
                self.load()
                self.launch()
            self.status = Status.VERIFY
            with spans.during("verify"):
                correctness = self.examine(complete=False)
            if correctness.fault:
                raise Failed(correctness.fault)
            self.status = Status.BENCHMARK
            with spans.during("benchmark"):
                performance = self.time(best_ms, floor_ms, beside)
            self.status = Status.OK
        except (Failed, Untrusted) as fault:
            detail = str(fault)
        return Evaluation(
            status=self.status,
            detail=detail,
            correctness=correctness,
            performance=performance,
            run_s=time.perf_counter() - started,
            spans=tuple(spans.taken),
        )

    # ---- right? -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Raises Failed for a file that cannot be loaded, or whose parameters are not the reference's."""
        loaded = self.sides.bench(Load(self.seat, self.path, self.sha256, self.sides.prepared.construction))
        fault = loaded.fault or self.sides.judge(LayoutFault(loaded.parameters))
        if fault:
            raise Failed(fault)

    def launch(self) -> None:
        """Raises Failed for a candidate that does not come through its first call."""
        self.status = Status.LAUNCH
        fault = self.sides.bench(Launch(self.seat, self.sides.prepared.launch))
        if fault:
            raise Failed(fault)

    def examine(self, complete: bool) -> Correctness:
        """The verdict on the cases of a trial, which end with the first that fails, or on all there are."""
        judge, folder = self.sides.judge, self.sides.folder
        judge(BeginExam(complete, self.leaves))
        while (paper := judge(AskPaper()).paper) is not None:
            sitting = self.sides.bench(Sit(self.seat, paper, folder))
            ok = judge(Mark(sitting, folder)).ok
            if not ok and not complete:
                break
        return judge(AskVerdict())

    # ---- how fast? --------------------------------------------------------------------------------

    def time(self, best_ms: float | None, floor_ms: float, beside: str | None = None) -> Performance:
        """Raises Untrusted for times that cannot be believed, Failed for answers that are wrong when timed."""
        times = self.samples(2, Values.FRESH)[1:]
        if best_ms is None or times[0] <= HOPELESS * best_ms:
            times = self.samples(count(SURVIVOR_SAMPLES, SURVIVOR_S, times[0]), Values.MARKED)
            median = statistics.median(times)
            if best_ms is not None and median <= CLOSE * best_ms:
                more = count(CLOSE_SAMPLES, CLOSE_S, median) - len(times)
                times += self.samples(more, Values.FRESH, beside=beside) if more > 0 else []
        performance = summarise(times)
        self.require_believable(performance.latency_ms, floor_ms)
        if performance.latency_ms < (best_ms or math.inf):
            self.require_steady()
        return performance

    def samples(self, forwards: int, values: Values, uneven: bool = False, beside: str | None = None) -> list[float]:
        """Times of so many forwards in ms. Raises Failed when an answer that was kept is wrong."""
        plan = self.sides.judge(AskPlan(forwards, values))
        request = Sample(self.seat, self.sides.prepared.timed, plan, self.sides.folder, uneven, beside)
        sampled = self.sides.bench(request)
        if sampled.fault:
            raise Failed(sampled.fault)
        if len(sampled.times_ms) != forwards:
            raise Untrusted(f"{len(sampled.times_ms)} times were given for {forwards} forwards")
        odd = next((ms for ms in sampled.times_ms if not 0 < ms < math.inf), None)
        if odd is not None:
            raise Untrusted(f"{odd:g} ms is no time that a forward takes")
        if plan.keep:
            fault = self.sides.judge(MarkTimed(plan, sampled.kept, self.sides.folder))
            if fault:
                raise Failed(fault)
        return sampled.times_ms

    def require_believable(self, latency_ms: float, floor_ms: float) -> None:
        """Raise Untrusted for a time below what the device can do; `floor_ms` is that share of it which proves it."""
        if latency_ms < floor_ms:
            raise Untrusted(
                f"measured {latency_ms:.4f} ms, below the physical floor of {floor_ms:.4f} ms: "
                "a fault of the measurement"
            )

    def require_steady(self) -> None:
        """Raise Untrusted for a candidate that is fast on benign values only.

        Both kinds of values take turns, and the shortest times count: what else the machine does only adds to them.
        """
        for tries in STEADY_TRIES:
            both = [(*self.samples(1, Values.FRESH), *self.samples(1, Values.FRESH, uneven=True)) for _ in range(tries)]
            plain, uneven = (min(times) for times in zip(*both, strict=True))
            if uneven <= BENIGN * plain:
                return
        raise Untrusted(f"{plain:.4f} ms on the timed values, {uneven:.4f} ms on values of other scales")


def count(samples: int, seconds: float, one_ms: float) -> int:
    """How often to sample what takes `one_ms`: `samples` times, or less within `seconds`, but thrice at least."""
    return max(3, min(samples, int(seconds * 1e3 / one_ms)))
