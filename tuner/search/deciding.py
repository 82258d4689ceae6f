"""How a final is decided: a contest, then the winner proved in a fresh process. Runs where the device is."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.errors import TemplateError
from tuner.execution import verdict
from tuner.execution.lane import Lane
from tuner.measurement.conditions import Watch
from tuner.records import Comparison, Correctness, Floor, Performance
from tuner.search.contest import FAILURES, MARKED_SAMPLES, Contest, Finalist, Told, last_line
from tuner.search.outline import Reading, readings_of
from tuner.verification.papers import Values


@dataclass(frozen=True)
class Final:
    """What has to be decided: among whom, beside which baselines, in about how many seconds."""

    finalists: tuple[Finalist, ...]  # best first
    baselines: tuple[str, ...]
    budget_s: float
    floor: Floor
    template: str  # whose fault it is when none holds


class NoneHolds(TemplateError):
    """Every finalist was measured and fell to the last verification; others may hold."""


@dataclass(frozen=True)
class Decision:
    """What a final said. `times_ms` has every contestant that was sampled; the runner-up is a finalist's name."""

    winner: str
    performance: Performance
    correctness: Correctness
    baselines: tuple[Comparison, ...]
    runner_up: Comparison | None
    floor: Floor
    times_ms: Mapping[str, tuple[float, ...]]
    rounds: tuple[int, ...]
    readings: tuple[Reading, ...]
    conditions: Mapping[str, str]
    notes: tuple[str, ...]  # what went wrong on the way and did not matter


def decide(final: Final, lane: Lane, folder: Path, told: Told, watch: Watch) -> Decision:
    """Hold the final on the lane's device; candidates build in `folder`.

    Raises DeviceError when no finalist can be measured, NoneHolds when none is right in a fresh process.
    """
    with watch:
        contest, winner, correctness = _held(final, lane, folder, told)
    floor, samples = final.floor, contest.samples
    if not lane.backend.steady_ceilings:  # the better of two readings, minutes apart
        floor = min(lane.describe().floor, floor, key=lambda reading: reading.floor_ms)
    others = [name for name in samples.ranked(contest.finalists) if name != winner]
    return Decision(
        winner=winner,
        performance=samples.performance(winner),
        correctness=correctness,
        baselines=tuple(samples.compared(winner, way) for way in contest.baselines),
        runner_up=samples.compared(winner, others[0]) if others else None,
        floor=floor,
        times_ms={name: tuple(times) for name, times in samples.times.items()},
        rounds=tuple(samples.rounds),
        readings=readings_of(watch.readings, watch.every_s),
        conditions=watch.conditions(),
        notes=(*contest.notes, *watch.notes()),
    )


def _held(final: Final, lane: Lane, folder: Path, told: Told) -> tuple[Contest, str, Correctness]:
    lane.bench.stop()  # the search's last candidates hold memory
    told.stage(f"final: {len(final.finalists)} finalists and {', '.join(final.baselines) or 'no baselines'}")
    with contextlib.closing(Contest(lane, folder, told)) as contest:
        contest.enter(final.finalists)
        for way in final.baselines:
            contest.enter_baseline(way)
        contest.sample(final.budget_s)
        contest.end_baselines()  # they hold memory that the last verification may need
        winner, correctness = _confirmed_winner(final, contest)
    return contest, winner, correctness


def _confirmed_winner(final: Final, contest: Contest) -> tuple[str, Correctness]:
    """The best finalist whose time is believable and that also holds in a fresh process.

    One that does not is taken out of the finalists.
    """
    while finalists := contest.finalists:
        winner = contest.samples.winner({name: finalist.simplicity for name, finalist in finalists.items()})
        try:
            _settle(contest, winner, final.floor)
            contest.rest()
            correctness = _confirm(contest, finalists[winner])
            fault = correctness.fault
        except FAILURES as failure:
            fault = last_line(failure)
        if not fault:
            return winner, correctness
        contest.notes.append(f"finalist {winner} left out, it does not hold: {fault}")
        contest.told.stage(f"final: {contest.notes[-1]}")
        contest.leave_out(winner)
    raise NoneHolds(f"{final.template}: nothing was cached, no finalist holds: {contest.notes[-1]}")


def _settle(contest: Contest, winner: str, floor: Floor) -> None:
    """Have the process that timed it look at the winner's time and at what it returns by now."""
    contest.told.stage("final: looking at the winner's last output")
    trial = contest.seats[winner]
    trial.require_believable(contest.samples.median_ms(winner), floor.floor_ms * contest.lane.backend.proof_share)
    trial.samples(MARKED_SAMPLES, Values.MARKED)


def _confirm(contest: Contest, finalist: Finalist) -> Correctness:
    """Every case there is for one finalist, in a fresh process and with fresh values."""
    contest.told.stage("final: verifying the winner in a fresh process")
    job = replace(contest.lane.job, seed=secrets.randbits(31))
    with contextlib.closing(Lane(job, contest.folder, contest.told.stage)) as lane:
        measured_ms = contest.samples.median_ms(finalist.name)
        return verdict.examine(lane, contest.path(finalist), finalist.candidate.sha256, measured_ms, finalist.leaves)
