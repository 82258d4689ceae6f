"""The study on disk: which process measures which point, and every trial, for optuna-dashboard to show.

The ledger is the truth about what was measured, and samplers learn from it; the study adds what is under
way. Each knob is a parameter `VARIANT.KNOB` with its value, not an index. One SQLite file a study.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.backends import toolchain
from tuner.errors import CacheError
from tuner.records import Status, Trial
from tuner.search.alive import Alive
from tuner.space import Point, Space

READ_EVERY_S = 2.0  # what is under way, where nobody else shows to be alive
CLAIM = "claim"  # the attribute that says whose a trial is: host, owner, and since when
STALE = datetime.timedelta(hours=2)  # longer than any trial runs

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """The study in the file `path`, made when there is none; in memory when `path` is None.

    Every method but `alone` is called while `alone` is held.
    """

    def __init__(self, space: Space, path: Path | None, name: str) -> None:
        self.space, self.path, self.name = space, path, name
        self.lock = contextlib.nullcontext() if path is None else filelock.FileLock(f"{path}.lock")
        self.read = -math.inf  # when it was last read what is under way
        self.mine: dict[int, int] = {}  # number of a trial under way here -> its id in the storage
        with self.alone():
            self.alive = None if path is None else Alive(path)
            self.storage = _storage(path)
            try:
                self.id = self.storage.get_study_id_from_name(name)
            except KeyError:
                self.id = self.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], name)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process is in here at the same time; whatever is wrong with the file becomes a CacheError."""
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.lock:
                yield
        except OSError as error:
            raise CacheError(f"{self.path}: cannot use the study: {error.strerror or error}") from error
        except Exception as error:
            # SQLAlchemy's and Alembic's faults share no base class with ours; all mean the file cannot be used.
            if type(error).__module__.startswith(("sqlalchemy", "alembic", "optuna")):
                line = str(error.__cause__ or error).splitlines()[0]
                hint = "it may be deleted, the ledger beside it has every trial"
                if self.path is not None and toolchain.no_space(self.path.parent):
                    hint = "free some space, or set TUNER_CACHE_DIR to where there is"
                raise CacheError(f"{self.path}: cannot use the study: {line}; {hint}") from error
            raise

    def claim(self, point: Point) -> int:
        """The number of a new trial of `point`, which this process has under way from now on."""
        claim = {"host": socket.gethostname(), "at": now().isoformat()}
        if self.alive is not None:
            claim["owner"] = self.alive.token
        started = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=self._parameters(point),
            distributions=self._distributions(point),
            user_attrs={CLAIM: claim},  # one attribute, for each is queries of its own
        )
        trial_id = self.storage.create_new_trial(self.id, started)
        number = self.storage.get_n_trials(self.id) - 1  # nobody else is here; reading the trial is many queries
        self.mine[number] = trial_id
        return number

    def settle(self, number: int, trial: Trial | None) -> None:
        """A trial that `claim` began has ended: measured, or (None) given up."""
        self._end(self.mine.pop(number), trial)

    def others(self, known: dict[Point, Trial]) -> Iterator[Point]:
        """The points that other searches have under way.

        Trials of theirs that are `known` from the ledger, or whose process is gone, are ended here.
        """
        lately = time.monotonic() - self.read < READ_EVERY_S
        if self.alive is None or (lately and not self.alive.others()):
            return  # reading takes the longer, the more trials are under way here
        self.read = time.monotonic()
        under_way = self.storage.get_all_trials(self.id, deepcopy=False, states=(TrialState.RUNNING,))
        for frozen in under_way:
            if frozen.number in self.mine:
                continue
            point = self._point_of(frozen)
            if point in known or self._is_abandoned(frozen):
                self._end(self._id_of(frozen.number), known.get(point) if point is not None else None)
            elif point is not None:
                yield point

    def catch_up(self, trials: Iterable[Trial]) -> None:
        """Add what the ledger has to a study that is empty: made just now, or deleted."""
        if self.storage.get_n_trials(self.id):
            return
        for trial in trials:
            ok = trial.evaluation.status is Status.OK
            ended = optuna.trial.create_trial(
                state=TrialState.COMPLETE if ok else TrialState.PRUNED,
                value=trial.evaluation.latency_ms if ok else None,
                params=self._parameters(trial.point),
                distributions=self._distributions(trial.point),
            )
            self.storage.create_new_trial(self.id, ended)

    def _id_of(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)

    def _end(self, trial_id: int, trial: Trial | None) -> None:
        """COMPLETE with its time, PRUNED for a fault, FAIL for what was never measured."""
        state, values = TrialState.FAIL, None
        if trial is not None:
            ok = trial.evaluation.status is Status.OK
            state, values = (TrialState.COMPLETE, [trial.evaluation.latency_ms]) if ok else (TrialState.PRUNED, None)
        with contextlib.suppress(RuntimeError):  # another process has read it in the ledger and ended it first
            self.storage.set_trial_state_values(trial_id, state, values)

    def _is_abandoned(self, frozen: FrozenTrial) -> bool:
        """Whether the process that has a trial under way is gone: by its lock here, by the trial's age elsewhere."""
        claim = frozen.user_attrs.get(CLAIM, {})
        if claim.get("host") == socket.gethostname() and self.alive is not None:
            return not self.alive.is_alive(claim.get("owner", ""))
        return "at" not in claim or now() - datetime.datetime.fromisoformat(claim["at"]) > STALE

    # ---- points as the study has them ----

    def _parameters(self, point: Point) -> dict[str, Any]:
        return {"variant": point.variant} | {f"{point.variant}.{name}": value for name, value in point.values}

    def _distributions(self, point: Point) -> dict[str, BaseDistribution]:
        found: dict[str, BaseDistribution] = {
            "variant": CategoricalDistribution([branch.variant for branch in self.space.branches])
        }
        for knob in self.space.branch(point.variant).knobs:
            choices: Any = knob.choices
            found[f"{point.variant}.{knob.name}"] = (
                IntDistribution(choices[0], choices[-1]) if knob.ordered else CategoricalDistribution(choices)
            )
        return found

    def _point_of(self, frozen: FrozenTrial) -> Point | None:
        variant = str(frozen.params.get("variant"))
        start = f"{variant}."
        knobs = {name.removeprefix(start): value for name, value in frozen.params.items() if name.startswith(start)}
        branch = next((branch for branch in self.space.branches if branch.variant == variant), None)
        if branch is None or knobs.keys() != {knob.name for knob in branch.knobs}:
            return None
        point = Point.of(variant, {knob.name: knobs[knob.name] for knob in branch.knobs})
        return point if self.space.has(point) else None


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _storage(path: Path | None) -> optuna.storages.BaseStorage:
    if path is None:
        return optuna.storages.InMemoryStorage()

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
        # Commits need not wait for the disk: what must outlast a power cut is in the ledger.
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    # The path goes past the URL, in which ?, % and { would mean something.
    return optuna.storages.RDBStorage("sqlite:///file", engine_kwargs={"creator": connect})
