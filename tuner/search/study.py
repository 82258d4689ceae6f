"""Searching a space: Optuna proposes, an evaluator measures, the ledger remembers.

The only importer of optuna. The recipe, from recorded spaces: a multivariate TPE
that is told of invalid points as PRUNED (trials that FAIL are ignored by TPE and
freeze it), repeats answered from memory, and after five wasted proposals in a
row the nearest valid point not yet seen. Neither costs budget; no point is
measured twice. Spaces of millions of points are too thin for a density estimate
alone, so every second proposal is one step from one of the best points
(benchmarks/samplers.py compares).
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import math
import os
import random
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import filelock
import optuna
import sqlalchemy
from optuna.trial import TrialState

from tuner.backends import toolchain
from tuner.errors import CacheError
from tuner.records import Evaluation, Status, Trial
from tuner.search.ledger import Ledger
from tuner.space import Choice, Point, Space

WASTED_IN_A_ROW = 5
STARTUP_TRIALS = 10
CLIMB_EVERY, CLIMB_FROM = 2, 3  # every second proposal is a step from one of the three best points
OWNER = "owner"
STALE_S = 2 * 3600

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Evaluator(Protocol):
    """Measures points; several may be under way, each result comes back once."""

    @property
    def capacity(self) -> int:
        """How many points it wants under way at once."""

    def submit(self, number: int, point: Point) -> None: ...

    def next(self) -> tuple[int, str, Evaluation]:
        """Wait for a result: (number, the candidate's sha256, its evaluation)."""


@dataclass(frozen=True)
class Budget:
    """When to stop: trials in all, seconds of this run, trials since the last improvement."""

    trials: int
    time_s: float | None = None
    patience: int | None = None


@dataclass
class Progress:
    """Where a search stands; handed to the observer after every trial."""

    budget: Budget
    trials: list[Trial] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)  # constraint -> points it refused
    resumed: int = 0  # of them taken over from other runs, earlier ones or at the same time
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    stopped: str = ""  # "", then trials, time, patience, exhausted or interrupted

    @property
    def best(self) -> Trial | None:
        done = [t for t in self.trials if t.evaluation.status is Status.OK]
        return min(done, key=lambda t: t.evaluation.latency_ms, default=None)

    @property
    def failures(self) -> Counter[str]:
        return Counter(t.evaluation.status.value for t in self.trials if t.evaluation.status is not Status.OK)

    @property
    def elapsed_s(self) -> float:
        """Seconds that this run of the search took, or has taken so far."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def since_best(self) -> int:
        best = self.best
        return len(self.trials) if best is None else len(self.trials) - 1 - self.trials.index(best)


def me() -> str:
    """This process, so that nobody else is ever taken for it: host, pid and the pid's start time."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_time(os.getpid())}"


def _start_time(pid: int) -> str:
    """When a process started, in ticks since boot; "" when it has ended, reaped by its parent or not."""
    with contextlib.suppress(OSError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    return ""


def _is_gone(owner: str) -> bool:
    """Whether the process that wrote `owner` has ended; one on another host is taken to be alive."""
    if not owner:  # killed before it could sign; nobody else's, for asking and signing go under one lock
        return True
    host, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    return _start_time(int(pid)) != started


def _is_stale(started: datetime.datetime | None) -> bool:
    """Whether a trial has run for longer than any can: another host's, a killed container's, that nobody will close."""
    return started is not None and datetime.datetime.now() - started > datetime.timedelta(seconds=STALE_S)


class Search:
    """One study: proposes points of `space` until the budget is spent."""

    def __init__(
        self,
        space: Space,
        sampler: str,
        seed: int,
        storage: Path | None,
        name: str,
        ledger: Ledger,
        hints: Sequence[Point] = (),
    ) -> None:
        """`hints` are points that were good elsewhere: measured right after the defaults, where they are valid here."""
        self.space, self.kind, self.seed, self.ledger = space, sampler, seed, ledger
        self.starts = [*space.defaults, *(c for c in hints if space.has(c) and space.rejected_by(c) is None)]
        self.points: Iterator[Point] = space.points()
        self.turns = itertools.count()
        self.known: dict[Point, Trial] = {}
        self.under_way: dict[int, Point] = {}
        self.elsewhere: set[Point] = set()  # under way in other processes on this study
        self.progress = Progress(Budget(0))
        self.storage = storage
        # Held while a process proposes: what others have asked for is then complete and to be seen.
        self.lock = contextlib.nullcontext() if storage is None else filelock.FileLock(f"{storage}.lock")
        with self._using_the_study():
            self.study = self._open(name)
            self._catch_up()
            if not self.study.get_trials(deepcopy=False):
                self._tell_anew()
        self.random = random.Random(f"{seed} {len(self.known)}" if self.known else seed)  # resumed: other points

    @contextlib.contextmanager
    def _using_the_study(self) -> Iterator[None]:
        """Alone with the study's file; whatever is wrong with it becomes a CacheError."""
        try:
            if self.storage is not None:
                self.storage.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                yield
        except OSError as error:
            raise CacheError(f"{self.storage}: cannot use the study: {error.strerror or error}") from error
        except Exception as error:
            # SQLAlchemy's and Alembic's faults share no base class with ours; all mean the file cannot be used.
            if type(error).__module__.startswith(("sqlalchemy", "alembic", "optuna")):
                line = str(error.__cause__ or error).splitlines()[0]
                hint = "it may be deleted, the ledger beside it has every trial"
                if self.storage is not None and toolchain.no_space(self.storage.parent):
                    hint = "free some space, or set TUNER_CACHE_DIR to where there is"
                raise CacheError(f"{self.storage}: cannot use the study: {line}; {hint}") from error
            raise

    def _open(self, name: str) -> optuna.Study:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS, seed=self.seed
            )
        backend = None
        if self.storage is not None:
            backend = optuna.storages.RDBStorage(
                f"sqlite:///{self.storage}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
            # A dozen commits a trial need not each wait for the disk: what must outlast a power cut is in the ledger.
            sqlalchemy.event.listen(
                backend.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
            )
            backend.engine.dispose()
        return optuna.create_study(storage=backend, study_name=name, sampler=sampler, load_if_exists=True)

    def _catch_up(self) -> None:
        """Take over what others have measured, and close trials whose process is gone.

        The ledger is the truth: a trial that it holds and that the study still calls
        running was measured by a process killed between the two.
        """
        for trial in self.ledger.news():
            point = trial.point
            if point not in self.known and self.space.has(point):
                self.known[point] = trial
                self.progress.trials.append(trial)
                self.progress.resumed += 1
        self.elsewhere.clear()
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if frozen.number in self.under_way:
                continue
            asked = self._point_of(frozen.params)
            measured = self.known.get(asked) if asked is not None else None
            if measured is not None and measured.number == frozen.number:
                self._tell(frozen.number, measured)
            elif _is_gone(frozen.user_attrs.get(OWNER, "")) or _is_stale(frozen.datetime_start):
                self._tell(frozen.number, None)
            elif asked is not None:
                self.elsewhere.add(asked)

    def _tell(self, number: int, trial: Trial | None) -> None:
        """Tell the study how a trial ended: a time, PRUNED for a fault, FAIL for one never measured."""
        state, value = TrialState.FAIL, None
        if trial is not None:
            ok = trial.evaluation.status is Status.OK
            state, value = (TrialState.COMPLETE, trial.evaluation.latency_ms) if ok else (TrialState.PRUNED, None)
        with contextlib.suppress(RuntimeError):  # another process has read it in the ledger and told it first
            self.study.tell(number, value, state=state, skip_if_finished=True)

    # ---- proposing --------------------------------------------------------------------------------

    def _ask(self) -> tuple[int, Point]:
        """One proposal of the sampler as (trial number, point)."""
        trial = self.study.ask()
        trial.set_user_attr(OWNER, me())
        names = [branch.variant for branch in self.space.branches]
        variant = str(trial.suggest_categorical("variant", names)) if len(names) > 1 else names[0]
        values: list[tuple[str, Choice]] = []
        for knob in self.space.branch(variant).knobs:
            name = f"{variant}.{knob.name}"
            if knob.ordered:
                at = trial.suggest_int(name, 0, len(knob.choices) - 1)
                values.append((knob.name, knob.choices[at]))
            else:
                chosen = trial.suggest_categorical(name, list(knob.choices))
                values.append((knob.name, knob.choices[knob.choices.index(chosen)]))
        return trial.number, Point(variant, tuple(values))

    def _ask_for(self, point: Point) -> tuple[int, Point]:
        """Have the study ask for this very point."""
        self.study.enqueue_trial(self._parameters(point))
        while True:
            number, asked = self._ask()
            if asked == point:
                return number, asked
            self._tell(number, None)  # enqueued by a process that was killed before it asked

    def _point_of(self, parameters: Mapping[str, Any]) -> Point | None:
        """The point that a trial of the study is about; None for one whose process was killed while it asked."""
        variant = parameters.get("variant", self.space.branches[0].variant)
        values: list[tuple[str, Choice]] = []
        for knob in self.space.branch(variant).knobs:
            value = parameters.get(f"{variant}.{knob.name}")
            if value is None:
                return None
            values.append((knob.name, knob.choices[value] if knob.ordered else value))
        return Point(variant, tuple(values))

    def _tell_anew(self) -> None:
        """Tell a study that was deleted what the ledger has, so that the sampler does not start blind."""
        for point, trial in self.known.items():
            ok = trial.evaluation.status is Status.OK
            self.study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.COMPLETE if ok else TrialState.PRUNED,
                    value=trial.evaluation.latency_ms if ok else None,
                    params=self._parameters(point),
                    distributions=self._distributions(point.variant),
                )
            )

    def _parameters(self, point: Point) -> dict[str, Any]:
        """A point as the study has it: the index of an ordered knob's choice, a category itself."""
        parameters: dict[str, Any] = {"variant": point.variant} if len(self.space.branches) > 1 else {}
        for knob, (name, value) in zip(self.space.branch(point.variant).knobs, point.values, strict=True):
            parameters[f"{point.variant}.{name}"] = knob.choices.index(value) if knob.ordered else value
        return parameters

    def _distributions(self, variant: str) -> dict[str, optuna.distributions.BaseDistribution]:
        """What `_ask` lets the sampler choose from, for a point of one variant."""
        categorical = optuna.distributions.CategoricalDistribution
        names = [branch.variant for branch in self.space.branches]
        found: dict[str, optuna.distributions.BaseDistribution] = {}
        if len(names) > 1:
            found["variant"] = categorical(names)
        for knob in self.space.branch(variant).knobs:
            between = optuna.distributions.IntDistribution(0, len(knob.choices) - 1)
            found[f"{variant}.{knob.name}"] = between if knob.ordered else categorical(list(knob.choices))
        return found

    def _is_new(self, point: Point) -> bool:
        return point not in self.known and point not in self.under_way.values() and point not in self.elsewhere

    def _propose(self) -> tuple[int, Point] | None:
        """The next point to measure, or None when no unseen valid point can be found."""
        first = next((c for c in self.starts if self._is_new(c)), None)
        if first is not None:
            return self._accept(self._ask_for(first))
        if self.kind == "exhaustive":
            point = next((c for c in self.points if self._is_new(c)), None)
            if point is None:  # what another process had under way and never measured
                point = self.space.nearest(self.space.branches[0].default, self._is_new)
            return None if point is None else self._accept(self._ask_for(point))
        if self.kind == "tpe" and len(self.progress.trials) >= STARTUP_TRIALS and next(self.turns) % CLIMB_EVERY == 0:
            step = self._step_from_the_best()
            if step is not None:
                return self._accept(self._ask_for(step))
        point = self._random_point() if self.kind == "random" else None
        for _ in range(WASTED_IN_A_ROW if self.kind == "tpe" else 0):
            number, point = self._ask()
            if self._accept((number, point)) is not None:
                return number, point
        assert point is not None
        nearest = self.space.nearest(point, self._is_new)
        return None if nearest is None else self._accept(self._ask_for(nearest))

    def _step_from_the_best(self) -> Point | None:
        """An unseen valid point one move from one of the best so far, the best one's first."""
        ok = [t for t in self.progress.trials if t.evaluation.status is Status.OK]
        for trial in sorted(ok, key=lambda t: t.evaluation.latency_ms)[:CLIMB_FROM]:
            steps = [c for c in self.space.neighbours(trial.point) if self._is_new(c)]
            steps = [c for c in steps if self.space.rejected_by(c) is None]
            if steps:
                return self.random.choice(steps)
        return None

    def _random_point(self) -> Point:
        branch = self.random.choices(self.space.branches, weights=[len(b) for b in self.space.branches])[0]
        return Point(branch.variant, tuple((k.name, self.random.choice(k.choices)) for k in branch.knobs))

    def _accept(self, proposal: tuple[int, Point]) -> tuple[int, Point] | None:
        """The proposal when it is valid and new; else the study is told of it for free, and None."""
        number, point = proposal
        rule = self.space.rejected_by(point)
        if rule is not None:
            self.progress.rejected[rule] += 1
            self.study.tell(number, state=TrialState.PRUNED)
        elif point in self.known:
            self._tell(number, self.known[point])
        elif not self._is_new(point):
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            return proposal
        return None

    # ---- running ----------------------------------------------------------------------------------

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
        exhausted = False
        try:
            while True:
                reason = self._limit(budget)
                while not reason and not exhausted and len(self.under_way) < evaluator.capacity:
                    with self._using_the_study():
                        self._catch_up()
                        if len(progress.trials) + len(self.under_way) + len(self.elsewhere) >= budget.trials:
                            break
                        proposal = self._propose()
                    if proposal is None:
                        # None new from this point on; another process's points may still come back to us.
                        exhausted = self.space.nearest(self.space.branches[0].default, self._is_new) is None
                        continue
                    number, point = proposal
                    self.under_way[number] = point
                    evaluator.submit(number, point)
                if not self.under_way or (reason and reason != "trials"):
                    progress.stopped = reason or ("exhausted" if exhausted else "trials")
                    break
                number, sha256, evaluation = evaluator.next()
                self._record(number, sha256, evaluation)
                observe(progress)
        except KeyboardInterrupt:
            progress.stopped = "interrupted"
        with self._using_the_study():
            for number in self.under_way:
                self._tell(number, None)
        self.under_way.clear()
        progress.ended = time.monotonic()
        return progress

    def _limit(self, budget: Budget) -> str:
        progress = self.progress
        if len(progress.trials) >= budget.trials:
            return "trials"
        if budget.time_s is not None and progress.elapsed_s >= budget.time_s and progress.trials:
            return "time"
        if budget.patience is not None and progress.best is not None and progress.since_best >= budget.patience:
            return "patience"
        return ""

    def _record(self, number: int, sha256: str, evaluation: Evaluation) -> None:
        """Ledger first, then the study: a kill between the two is mended by the next resume."""
        point = self.under_way.pop(number)
        trial = Trial(
            number=number,
            point=point,
            candidate_sha256=sha256,
            evaluation=evaluation,
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        )
        self.ledger.append(trial)
        self.known[point] = trial
        self.progress.trials.append(trial)
        with self._using_the_study():
            self._tell(number, trial)


def simplest_of_ties(ranked: list[tuple[Point, float]], space: Space) -> Point:
    """The winner among finalists: the simplest of those that tie with the fastest.

    `ranked` holds (point, low), fastest first: the lower end of the interval of its time
    as a ratio to the fastest's. It ties when that is 1 or below. Simplest:
    fewest steps of its knobs from the defaults, then the text of the point; a
    fixed rule, so equal measurements always name the same winner.
    """

    def distance(point: Point) -> tuple[float, str]:
        branch = space.branch(point.variant)
        steps = 0.0
        for knob, (_, value) in zip(branch.knobs, point.values, strict=True):
            apart = abs(knob.choices.index(value) - knob.choices.index(knob.default))
            steps += apart if knob.ordered else min(apart, 1)
        return steps, str(point)

    ties = [point for point, low in ranked if low <= 1.0 or math.isclose(low, 1.0)]
    return min(ties, key=distance)
