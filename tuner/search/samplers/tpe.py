"""Optuna's tree-structured Parzen estimator, with steps from the best points.

TPE is told of invalid points as PRUNED (it ignores trials that FAIL, and would
propose the same point again for ever). Spaces of millions of points are too thin for a density
estimate alone, so every second proposal is one step from one of the best points.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Collection
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from tuner.search.samplers.base import Sampler
from tuner.space import Choice, Point, Space

STARTUP_TRIALS = 10
WASTED_IN_A_ROW = 5  # asked points that are invalid or known, before the nearest new one is taken
CLIMB_EVERY, CLIMB_FROM = 2, 3  # every second proposal is a step from one of the three best points


class Tpe(Sampler):
    """Optuna's tree-structured Parzen estimator, with steps from the best points."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS, seed=seed
            )
        self.study = optuna.create_study(sampler=sampler)  # in memory: `tell` and `propose` bring all there is
        self.open: dict[Point, int] = {}  # point under way -> its number in the study
        self.random = random.Random(seed)
        self.turn = 0

    def tell(self, point: Point, latency_ms: float) -> None:
        super().tell(point, latency_ms)
        if point in self.open:
            self._close(self.open.pop(point), latency_ms)
        else:
            self._add(point, latency_ms)

    def propose(self, under_way: Collection[Point]) -> Point | None:
        self._keep_open(under_way)
        if len(self.told) >= STARTUP_TRIALS:
            self.turn += 1
            step = self._step_from_the_best(under_way) if self.turn % CLIMB_EVERY else None
            if step is not None:
                return step
        for _ in range(WASTED_IN_A_ROW):
            number, point = self._ask()
            if self.is_new(point, under_way) and self.is_valid(point):
                self.open[point] = number
                return point
            self._close(number, self.told.get(point, math.inf))
        return self.nearest(point, under_way)

    def _step_from_the_best(self, under_way: Collection[Point]) -> Point | None:
        """A new valid point one move from one of the best so far, the best one's first."""
        done = [point for point, latency_ms in self.told.items() if latency_ms < math.inf]
        for point in sorted(done, key=self.told.__getitem__)[:CLIMB_FROM]:
            steps = [p for p in self.space.neighbours(point) if self.is_new(p, under_way)]
            steps = [p for p in steps if self.space.rejected_by(p) is None]
            if steps:
                return self.random.choice(steps)
        return None

    # ---- the study: the index of an ordered knob's choice, a category itself ----

    def _keep_open(self, under_way: Collection[Point]) -> None:
        """Have a running trial for each point under way, which TPE takes for a bad one, and for no other."""
        for point in [point for point in self.open if point not in under_way]:
            self.study.tell(self.open.pop(point), state=TrialState.FAIL)
        for point in sorted((p for p in under_way if p not in self.open and p not in self.told), key=str):
            self.open[point] = len(self.study.get_trials(deepcopy=False))
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING, params=self._parameters(point), distributions=self._distributions(point)
                )
            )

    def _close(self, number: int, latency_ms: float) -> None:
        ok = latency_ms < math.inf
        self.study.tell(number, latency_ms if ok else None, TrialState.COMPLETE if ok else TrialState.PRUNED)

    def _add(self, point: Point, latency_ms: float) -> None:
        ok = latency_ms < math.inf
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if ok else TrialState.PRUNED,
                value=latency_ms if ok else None,
                params=self._parameters(point),
                distributions=self._distributions(point),
            )
        )

    def _ask(self) -> tuple[int, Point]:
        """A proposal of TPE's, as (number in the study, point)."""
        trial = self.study.ask()
        names = [branch.variant for branch in self.space.branches]
        variant = str(trial.suggest_categorical("variant", names))
        values: list[tuple[str, Choice]] = []
        for knob in self.space.branch(variant).knobs:
            name = f"{variant}.{knob.name}"
            if knob.ordered:
                values.append((knob.name, knob.choices[trial.suggest_int(name, 0, len(knob.choices) - 1)]))
            else:
                at = knob.choices.index(cast(Choice, trial.suggest_categorical(name, list(knob.choices))))
                values.append((knob.name, knob.choices[at]))
        return trial.number, Point(variant, tuple(values))

    def _parameters(self, point: Point) -> dict[str, Any]:
        knobs = self.space.branch(point.variant).knobs
        return {"variant": point.variant} | {
            f"{point.variant}.{knob.name}": knob.choices.index(value) if knob.ordered else value
            for knob, (_, value) in zip(knobs, point.values, strict=True)
        }

    def _distributions(self, point: Point) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = {
            "variant": CategoricalDistribution([branch.variant for branch in self.space.branches])
        }
        for knob in self.space.branch(point.variant).knobs:
            between = IntDistribution(0, len(knob.choices) - 1)
            found[f"{point.variant}.{knob.name}"] = between if knob.ordered else CategoricalDistribution(knob.choices)
        return found
