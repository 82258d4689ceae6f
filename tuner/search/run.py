"""The search of one workload: from its measuring process to its record."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tuner import backends, store
from tuner.errors import UnjudgeableError
from tuner.measurement.protocol import Description
from tuner.records import Environment, Evaluation, Performance, Record, Status, Trial, Workload
from tuner.search import outline, warm
from tuner.search.identity import self_check_name, study_name
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.observer import Observer
from tuner.search.progress import Budget, Progress
from tuner.search.related import related
from tuner.search.samplers import SAMPLERS
from tuner.search.starts import host_choices
from tuner.search.station import Measuring, Station
from tuner.settings import Settings
from tuner.space import Point, Space
from tuner.template import Template, render
from tuner.template.render import Candidate

HINTS = 4  # cached winners that a search starts from


@dataclass
class Run:
    """Everything that the search of one workload holds, once what measures has described where it runs."""

    settings: Settings
    template: Template
    problem: Path
    workload: Workload
    station: Station
    cache: Path
    observer: Observer
    description: Description
    eager: Performance | None = None  # a few samples of before the search

    @property
    def environment(self) -> Environment:
        return self.description.environment

    @cached_property
    def space(self) -> Space:
        limits = backends.of(self.environment.device_kind).limits(self.environment)
        facts = self.template.facts(self.workload.init, self.workload.shapes, limits)
        return self.template.space(
            self.environment.device_kind, facts, self.settings.variants, self.settings.knobs, self.workload.dtypes
        )

    @cached_property
    def name(self) -> str:
        """What this search shares with those that it goes on from."""
        digest = self.description.problem_sha256
        return study_name(self.settings, self.template, self.workload, self.environment, digest)

    @property
    def ledger(self) -> Path:
        return runs_folder(self.cache) / f"{self.name}.jsonl"

    def leaves(self, point: Point) -> tuple[str, ...]:
        """What the point's variant leaves to PyTorch."""
        return self.template.variant(point.variant).leaves

    def candidate(self, point: Point) -> Candidate:
        return render.for_point(self.template, point, self.workload, self.environment)

    # ---- before the first trial -------------------------------------------------------------------

    def prepare(self, fresh: bool = False) -> None:
        """Oracle, self-check of the suite, eager's time; meanwhile the first trials of a search are compiled.

        Raises UnjudgeableError when the suite cannot judge the problem.
        """
        self.observer.workload(self.workload, self.space, self.environment)
        if fresh or not self.ledger.exists():
            self.station.build_ahead([self.candidate(point) for point in self.space.defaults])
        self.observer.stage("computing the float64 oracle and the reference's own error")
        self.station.prepare()
        self.require_a_suite_that_judges()
        self.observer.stage("timing eager")
        self.eager = self.station.eager()
        self.observer.eager(self.eager)

    def require_a_suite_that_judges(self) -> None:
        """Send the mutants of this problem through the suite, once for each meaning of it.

        Raises UnjudgeableError that names those that pass.
        """
        sha256, budget = self.description.problem_sha256, self.settings.error_budget
        done = runs_folder(self.cache) / self_check_name(sha256, self.workload, self.environment, budget)
        if done.exists():
            return
        self.observer.stage("sending wrong models through the suite")
        found = self.station.self_check()
        if found.missed:
            missed = ", ".join(found.missed)
            raise UnjudgeableError(
                f"{self.problem}: the suite finds nothing wrong with {missed} (error_budget is {budget:g})"
            )
        done.write_text(found.model_dump_json(indent=2))

    # ---- the trials -------------------------------------------------------------------------------

    def search(self, fresh: bool) -> Progress:
        """Measure points until the budget is spent, going on where an earlier run stopped unless `fresh`."""
        settings, name = self.settings, self.name
        if fresh:
            for old in runs_folder(self.cache).glob(f"{name}.*"):
                old.unlink()
        outline.write(outline.outline_path(self.ledger), self.outline().begun_again(outline.read_outline(self.ledger)))
        search = Search(
            self.space,
            settings.sampler,
            settings.seed,
            runs_folder(self.cache) / f"{name}.sqlite3",
            name,
            Ledger(self.ledger),
            [*self._known_points(), *host_choices(self.template, self.space)],
            self._related(),
        )
        budget = Budget(settings.trials, settings.time_budget_s, settings.patience, settings.least_gain)
        self.observer.stage(f"searching: {self._estimate()}")
        with self.station.trials(self.description.floor.floor_ms, search.progress.best_ms) as measuring:
            return search.run(_Rendering(self, measuring), budget, self.observer.progress)

    def _estimate(self) -> str:
        """How long at most, before the first trial tells more."""
        settings = self.settings
        until = f"up to {settings.trials} trials" + (
            f" or {settings.time_budget_s:g} s" if settings.time_budget_s else ""
        )
        return f"{until}, then a final of about {settings.final_budget_s:g} s"

    def outline(self) -> outline.Outline:
        """What is searched, from now on."""
        settings = self.settings
        return outline.Outline(
            template=self.template.name,
            workload=self.workload,
            environment=self.environment,
            error_budget=settings.error_budget,
            sampler=settings.sampler,
            seed=settings.seed,
            trials=settings.trials,
            time_budget_s=settings.time_budget_s,
            patience=settings.patience,
            branches=outline.branches_of(self.space),
            floor=self.description.floor,
            eager=self.eager,
            started=(time.time(),),
        )

    def _known_points(self) -> list[Point]:
        """Points of `warm`, then of cached winners, those for the likest device first: a start, never a result.

        A winner carried to another GPU keeps 58 to 100 % of what is possible there, by published measurements.
        """
        digests = store.Digests(self.template)
        roots = {root.resolve(): root for root in (self.cache, store.shipped_cache())}.values()
        found = [each for root in roots for each in store.nearest(root, digests, self.workload, self.environment)]
        found.sort(key=lambda each: len(store.differences(each[1], each[2])))
        cached = list(dict.fromkeys(entry.record.point for entry, _, _ in found))[:HINTS]
        return [*self._warm_points(), *cached]

    def _related(self) -> list[list[Trial]]:
        """Trials of other searches, for other shapes, devices or versions: a guide, never a result."""
        if not SAMPLERS[self.settings.sampler].is_guided:
            return []
        found = related(self.ledger, self.template.name, self.workload, self.environment, self.space)
        if found:
            self.observer.stage(f"guided by {sum(map(len, found))} trials of {len(found)} other searches")
        return found

    def _warm_points(self) -> list[Point]:
        if self.settings.warm is None:
            return []
        known = warm.configurations(self.settings.warm)
        found = warm.points(self.space, known)[: warm.STARTS]
        self.observer.stage(f"starting from {len(found)} of {len(known)} right points of {self.settings.warm}")
        return found

    def digest(self, point: Point) -> str:
        """What the template is made of now, as far as a record of this point is concerned."""
        return render.digest(self.template, self.template.variant(point.variant), self.workload.each_dtype)

    def record(self, progress: Progress) -> Record | None:
        """The best so far, unconfirmed until a final has said more; None when nothing right was found."""
        best = progress.best
        if best is None:
            return None
        counts = {Status.OK.value: len(progress.trials) - sum(progress.failures.values()), **progress.failures}
        counts |= {f"rejected: {rule}": n for rule, n in progress.rejected.items()}
        return Record(
            template=self.template.name,
            template_digest=self.digest(best.point),
            problem_sha256=self.description.problem_sha256,
            workload=self.workload,
            point=best.point,
            candidate_sha256=best.candidate_sha256,
            environment=self.environment,
            error_budget=self.settings.error_budget,
            evaluation=best.evaluation,
            leaves=self.leaves(best.point),
            confirmed=False,
            floor=self.description.floor,
            trials=counts,
            seed=self.settings.seed,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )


class _Rendering:
    """Who measures, as the search sees it: points in, evaluations out."""

    def __init__(self, run: Run, measuring: Measuring) -> None:
        self.run, self.measuring = run, measuring

    @property
    def capacity(self) -> int:
        return self.measuring.capacity

    @property
    def waited_s(self) -> float:
        return self.measuring.waited_s

    def submit(self, number: int, point: Point) -> None:
        self.measuring.submit(number, self.run.candidate(point), self.run.leaves(point))

    def next(self) -> tuple[int, str, Evaluation]:
        return self.measuring.next()


def runs_folder(cache: Path) -> Path:
    """Where studies, ledgers and self-checks lie, in the cache."""
    return cache / ".runs"
