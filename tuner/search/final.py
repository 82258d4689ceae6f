"""The final of a search: a contest of its best points, then the winner proved in a fresh process."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import replace

from tuner.errors import TemplateError
from tuner.execution import verdict
from tuner.execution.lane import Lane
from tuner.measurement.conditions import Watch
from tuner.records import Correctness, Floor, Record, Status, Trial
from tuner.search.contest import FAILURES, MARKED_SAMPLES, Contest, last_line
from tuner.search.outline import FinalOutline, readings_of
from tuner.search.progress import Progress
from tuner.search.run import Run
from tuner.verification.papers import Values

FINALISTS = 8


class Final:
    """Names the winner of a run's trials. `notes` says what went wrong on the way and did not matter."""

    def __init__(self, run: Run) -> None:
        self.run, self.contest = run, Contest(run)
        self.entered: dict[str, Trial] = {}

    @property
    def notes(self) -> list[str]:
        return self.contest.notes

    def decide(self, record: Record, progress: Progress) -> Record:
        """The record, completed with the winner and its comparisons.

        Raises DeviceError when no finalist can be measured, TemplateError when none holds.
        """
        contest, samples, baselines = self.contest, self.contest.samples, self.run.settings.baselines
        ok = [t for t in progress.trials if t.evaluation.status is Status.OK]
        finalists = {str(t.point): t for t in sorted(ok, key=lambda t: t.evaluation.latency_ms)[:FINALISTS]}
        self.entered = finalists
        self.run.observer.stage(f"final: {len(finalists)} finalists and {', '.join(baselines) or 'no baselines'}")
        with contextlib.closing(contest):
            contest.enter(finalists)
            for way in baselines:
                contest.enter_baseline(way)
            contest.sample(self.run.settings.final_budget_s)
            contest.end_baselines()  # they hold memory that the last verification may need
            winner, correctness = self._confirmed_winner(record.floor)
        others = [name for name in samples.ranked(contest.finalists) if name != winner]
        trial = contest.finalists[winner]
        return record.confirmed_by(
            trial,
            self.run.digest(trial.point),
            trial.evaluation.confirmed_by(samples.performance(winner), correctness),
            leaves=self.run.leaves(trial.point),
            baselines=[samples.compared(winner, way) for way in contest.baselines],
            runner_up=samples.compared(winner, others[0]) if others else None,
            runner_up_point=contest.finalists[others[0]].point if others else None,
        )

    def outline(self, record: Record, watch: Watch, notes: Sequence[str]) -> FinalOutline:
        """How it went, for a report."""
        samples = self.contest.samples
        return FinalOutline(
            winner=str(record.point),
            points={name: trial.point for name, trial in self.entered.items() if name in samples.times},
            times_ms={name: tuple(times) for name, times in samples.times.items() if times},
            rounds=tuple(samples.rounds),
            readings=readings_of(watch.readings, watch.every_s),
            notes=tuple(notes),
        )

    def _confirmed_winner(self, floor: Floor | None) -> tuple[str, Correctness]:
        """The best finalist whose time is believable and that also holds in a fresh process.

        One that does not is taken out of the finalists.
        """
        finalists = self.contest.finalists
        while finalists:
            points = {name: trial.point for name, trial in finalists.items()}
            winner = self.contest.samples.winner(points, self.run.space)
            try:
                self._settle(winner, floor)
                correctness = self._confirm(finalists[winner])
                fault = correctness.fault
            except FAILURES as failure:
                fault = last_line(failure)
            if not fault:
                return winner, correctness
            self.notes.append(f"finalist {winner} left out, it does not hold: {fault}")
            self.run.observer.stage(f"final: {self.notes[-1]}")
            del finalists[winner]
        raise TemplateError(f"{self.run.template.folder}: nothing was cached, no finalist holds: {self.notes[-1]}")

    def _settle(self, winner: str, floor: Floor | None) -> None:
        """Have the process that timed it look at the winner's time and at what it returns by now."""
        self.run.observer.stage("final: looking at the winner's last output")
        trial = self.contest.seats[winner]
        floor_ms = floor.floor_ms * self.run.lane.backend.proof_share if floor else 0.0
        trial.require_believable(self.contest.samples.median_ms(winner), floor_ms)
        trial.samples(MARKED_SAMPLES, Values.MARKED)

    def _confirm(self, trial: Trial) -> Correctness:
        """Every case there is for one finalist, in a fresh process and with fresh values."""
        self.run.observer.stage("final: verifying the winner in a fresh process")
        candidate = self.run.candidate(trial.point)
        job = replace(self.run.job, seed=secrets.randbits(31))
        with contextlib.closing(Lane(job, self.run.folder, self.run.observer.stage)) as lane:
            path = self.run.folder / f"{candidate.sha256}.py"
            measured_ms = self.contest.samples.median_ms(str(trial.point))
            return verdict.examine(lane, path, candidate.sha256, measured_ms, self.run.leaves(trial.point))
