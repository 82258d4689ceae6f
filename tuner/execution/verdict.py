"""The verdict on one file: every case there is, and its time by a clock that it cannot reach."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tuner.backends import toolchain
from tuner.errors import ConfigError, TunerError, UnjudgeableError
from tuner.execution.examination import Examination, Failed, Sides
from tuner.execution.job import PREPARE_DEADLINE_S, Job
from tuner.execution.lane import SEAT, Lane
from tuner.execution.outside_clock import OutsideClock
from tuner.measurement.protocol import (
    AskParameters,
    AskPlan,
    BeginSanitizing,
    BenchService,
    MarkTimed,
    ParametersFault,
    RunForwards,
    Sampled,
    Sanitized,
)
from tuner.measurement.statistics import Untrusted
from tuner.records import CaseResult, Correctness, Workload
from tuner.verification.papers import Plan, Values
from tuner.workers import scratch
from tuner.workers.worker import Worker, WorkerBug, WorkerFailure

REPEATS_S, LEAST_REPEATS, MOST_REPEATS = 2.0, 20, 1000
CLAIMED_SAMPLES = 5
# By the outer clock: runs so short that one of them may go undisturbed on a busy machine, most when none did.
OUTSIDE_S, LEAST_OUTSIDE, MOST_OUTSIDE = 0.05, 5, 200
GIVEN_BYTES_S = 1e10  # giving large answers takes as long, and not always as long: forwards have to take longer
LEAST_RUNS, MOST_RUNS = 3, 30
HOPELESS = 10.0  # beyond this multiple of what is believed more runs would not help
CLAIM_FACTOR, CLAIM_SLACK_MS = 2.0, 0.05  # a forward that takes this much longer by the outer clock was not timed


class WrongFile(TunerError):
    """A file that was to be shipped is not right."""


def require_file(file: Path) -> None:
    """Raise ConfigError unless there is such a file."""
    if not os.path.isfile(file):
        raise ConfigError(f"{file}: no such file")


def verify(
    file: Path,
    problem: Path,
    workload: Workload,
    torch_device: str,
    error_budget: float,
    say: Callable[[str], None],
    mutants: bool = False,
    leaves: tuple[str, ...] = (),
) -> Correctness:
    """Every case there is on one file, which may leave the operators `leaves` to PyTorch.

    With `mutants` the suite proves first that it can judge the problem.
    Raises WrongFile for a file that ends its process, UnjudgeableError for a problem that cannot be judged.
    """
    toolchain.need_toolchain()
    job = Job(problem, workload, torch_device, secrets.randbits(31), error_budget, toolchain.environment())
    with scratch.subfolder() as folder, contextlib.closing(Lane(job, folder, say)) as lane:
        say("computing the float64 oracle and the reference's own error")
        lane.prepare()
        if mutants:
            say("sending wrong models through the suite")
            missed = lane.self_check().missed
            if missed:
                raise UnjudgeableError(f"{problem}: the suite finds nothing wrong with {', '.join(missed)}")
        say(f"building and verifying {file.name}")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        try:
            return examine(lane, file.resolve(), sha256, leaves=leaves)
        except WorkerFailure as failure:
            raise WrongFile(f"{file}: {failure}") from None


def examine(
    lane: Lane, path: Path, sha256: str, claimed_ms: float = math.inf, leaves: tuple[str, ...] = ()
) -> Correctness:
    """Every case there is for one file, on a bench of its own. Raises WorkerFailure when it ends its process.

    `claimed_ms` is its time as it was measured elsewhere: that, too, has to agree with the clock outside.
    """
    with lane.lock:  # until the candidate's process is gone, which could take the lock and keep it
        bench = lane.new_bench()
        try:
            sides = lane.sides(bench, time.monotonic() + PREPARE_DEADLINE_S)
            return _examined(lane, bench, Examination(sides, SEAT, path, sha256, leaves), claimed_ms)
        except WorkerBug as bug:
            last = str(bug).strip().splitlines()[-1]
            return _refused("construction", f"the process failed: {last}"[:500])
        finally:
            bench.stop()
            bench.close()


def _examined(lane: Lane, bench: Worker[BenchService], examined: Examination, claimed_ms: float) -> Correctness:
    sides = examined.sides
    sides.judge(BeginSanitizing(examined.path))  # beside the cases; nothing is timed until it is through
    try:
        examined.load()
        examined.launch()
        given = sides.bench(AskParameters(SEAT, sides.prepared.construction, sides.folder))
        fault = sides.judge(ParametersFault(given, sides.folder))
        if fault:
            raise Failed(fault)
    except Failed as fault:
        return _refused("construction", str(fault))
    found = examined.examine(complete=True)
    if found.fault:
        return found
    found = found.with_cases([*found.cases, *sides.judge(Sanitized())])
    return found if found.fault else found.with_cases([*found.cases, *_timed(lane, bench, examined, claimed_ms)])


def _refused(name: str, detail: str) -> Correctness:
    case = CaseResult(name=name, ok=False, detail=detail)
    return Correctness(cases=(case,), error_ratio=0.0, agrees_with_eager=False)


def _timed(lane: Lane, bench: Worker[BenchService], examined: Examination, elsewhere_ms: float) -> list[CaseResult]:
    """What the candidate claims of its time, and what becomes of many forwards by the clock of this process."""
    try:
        claimed_ms = statistics.median(examined.samples(CLAIMED_SAMPLES, Values.MARKED))
        examined.require_steady()
        cases = [CaseResult(name="timed values", ok=True)]
    except (Failed, Untrusted) as fault:
        return [CaseResult(name="timed values", ok=False, detail=str(fault))]
    outside = _outside(lane, bench, examined.sides, min(claimed_ms, elsewhere_ms))
    return [*cases, _repeats(examined.sides, claimed_ms), outside]


def _repeats(sides: Sides, claimed_ms: float) -> CaseResult:
    """As many forwards as the time allows, over few values: each gives the bits of the last time, to the end."""
    forwards = max(LEAST_REPEATS, min(MOST_REPEATS, int(REPEATS_S * 1e3 / claimed_ms)))
    plan = sides.judge(AskPlan(forwards, Values.REPEATED))
    ran = sides.bench(RunForwards(SEAT, sides.prepared.timed, plan, sides.folder))
    fault = ran.fault or sides.judge(MarkTimed(plan, ran.kept, sides.folder))
    return CaseResult(name=f"{forwards} repeats", ok=not fault, detail=fault)


def _outside(lane: Lane, bench: Worker[BenchService], sides: Sides, claimed_ms: float) -> CaseResult:
    """The time of a forward by a clock outside its process, less what everything but the forward costs.

    The shortest run counts: what else the machine does only adds to it.
    """
    given_s = 2 * sides.judge(AskPlan(1, Values.FRESH)).answer_bytes / GIVEN_BYTES_S
    forwards = max(LEAST_OUTSIDE, min(MOST_OUTSIDE, int(max(OUTSIDE_S, given_s) * 1e3 / claimed_ms)))
    most_ms = CLAIM_FACTOR * claimed_ms + CLAIM_SLACK_MS
    with contextlib.closing(lane.new_bench()) as idle:  # no candidate was ever in it
        rest = lane.sides(idle, time.monotonic() + PREPARE_DEADLINE_S)
        rest_s = whole_s = math.inf
        for number in range(MOST_RUNS):
            plan = sides.judge(AskPlan(forwards, Values.MARKED))
            rest_s = min(rest_s, _run_s(lane, idle, rest, None, plan)[0])
            seconds, ran = _run_s(lane, bench, sides, SEAT, plan)
            whole_s = min(whole_s, seconds)
            fault = ran.fault or sides.judge(MarkTimed(plan, ran.kept, sides.folder))
            outside_ms = (whole_s - rest_s) / forwards * 1e3
            if fault or (number + 1 >= LEAST_RUNS and not most_ms < outside_ms < HOPELESS * most_ms):
                break
    if not fault and outside_ms > most_ms:
        fault = f"claims {claimed_ms:.4g} ms, takes {outside_ms:.4g} ms by a clock that it cannot reach"
    return CaseResult(name="time from outside", ok=not fault, detail=fault)


def _run_s(
    lane: Lane, bench: Worker[BenchService], sides: Sides, seat: str | None, plan: Plan
) -> tuple[float, Sampled]:
    bench.start()
    assert bench.pid is not None
    clock = OutsideClock(bench.pid, lane.backend.host_cores)
    ran = sides.bench(RunForwards(seat, sides.prepared.timed, plan, sides.folder))
    return clock.seconds(), ran
