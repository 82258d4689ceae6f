"""The final of a search: its best points, decided among where they are measured, and the winner's record."""

from __future__ import annotations

from tuner.records import Record, Status, Trial
from tuner.search.contest import Finalist
from tuner.search.deciding import Decision, Final
from tuner.search.outline import FinalOutline
from tuner.search.progress import Progress
from tuner.search.run import Run
from tuner.search.ties import simplicity
from tuner.space import Choice, Space

FINALISTS = 8


def finalists(progress: Progress) -> dict[str, Trial]:
    """The best trials, best first, by their points' text."""
    return dict(list(_ranked(progress).items())[:FINALISTS])


def _ranked(progress: Progress) -> dict[str, Trial]:
    ok = [trial for trial in progress.trials if trial.evaluation.status is Status.OK]
    return {str(t.point): t for t in sorted(ok, key=lambda t: t.evaluation.latency_ms)}


def others(progress: Progress, space: Space, chosen: dict[str, Trial]) -> dict[str, Trial]:
    """What is left when none of the chosen holds: of each word that a knob may be, the best trial that has it.

    What made the chosen fast and wrong, a way of rounding say, is one of these words.
    """
    found, seen = dict[str, Trial](), set[tuple[str, str, Choice]]()
    for name, trial in _ranked(progress).items():
        words = {
            (trial.point.variant, knob.name, value)
            for knob, (_, value) in zip(space.branch(trial.point.variant).knobs, trial.point.values, strict=True)
            if not knob.ordered
        }
        found |= {} if words <= seen else {name: trial}
        seen |= words
    return {name: trial for name, trial in found.items() if name not in chosen}


def asked(run: Run, trials: dict[str, Trial]) -> Final:
    """What has to be decided among these trials."""
    return Final(
        finalists=tuple(
            Finalist(name, run.candidate(trial.point), run.leaves(trial.point), simplicity(trial.point, run.space))
            for name, trial in trials.items()
        ),
        baselines=run.settings.baselines,
        budget_s=run.settings.final_budget_s,
        floor=run.description.floor,
        template=str(run.template.folder),
    )


def confirmed(run: Run, record: Record, trials: dict[str, Trial], decision: Decision) -> Record:
    """The record, completed with the winner and its comparisons."""
    trial = trials[decision.winner]
    runner_up = decision.runner_up
    return (
        record.confirmed_by(
            trial,
            run.digest(trial.point),
            trial.evaluation.confirmed_by(decision.performance, decision.correctness),
            leaves=run.leaves(trial.point),
            baselines=decision.baselines,
            runner_up=runner_up,
            runner_up_point=trials[runner_up.name].point if runner_up else None,
        )
        .measured_under(decision.conditions)
        .with_floor(decision.floor)
    )


def outlined(record: Record, trials: dict[str, Trial], decision: Decision) -> FinalOutline:
    """How it went, for a report."""
    return FinalOutline(
        winner=str(record.point),
        points={name: trial.point for name, trial in trials.items() if name in decision.times_ms},
        times_ms={name: times for name, times in decision.times_ms.items() if times},
        rounds=decision.rounds,
        readings=decision.readings,
        notes=decision.notes,
    )
