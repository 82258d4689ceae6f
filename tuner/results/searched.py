"""A search read from its ledger, what lies beside it, and the winner in the cache. Nothing is run or changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner import settings, store
from tuner.errors import CacheError, ConfigError
from tuner.records import Environment, Floor, Performance, Record, Status, Trial, Workload
from tuner.search.ledger import Ledger
from tuner.search.outline import FinalOutline, Outline, read_final, read_outline
from tuner.search.run import runs_folder
from tuner.settings import Settings


@dataclass(frozen=True)
class Searched:
    """One search. A part that is not there (yet) is None: a shipped winner has no ledger, a killed search no record."""

    name: str
    trials: tuple[Trial, ...]
    outline: Outline | None = None
    final: FinalOutline | None = None
    record: Record | None = None
    text: str | None = None  # of the winner
    ledger: Path | None = None

    @property
    def template(self) -> str:
        known = self.record or self.outline
        return known.template if known else self.name.rpartition("-")[0] or self.name

    @property
    def workload(self) -> Workload | None:
        known = self.record or self.outline
        return known.workload if known else None

    @property
    def environment(self) -> Environment | None:
        known = self.record or self.outline
        return known.environment if known else None

    @property
    def floor(self) -> Floor | None:
        known = self.record or self.outline
        return known.floor if known else None

    @property
    def right(self) -> list[Trial]:
        """The trials that are ok, in the order in which they were measured."""
        return [trial for trial in self.trials if trial.evaluation.status is Status.OK]

    @property
    def best(self) -> Trial | None:
        return min(self.right, key=lambda trial: trial.evaluation.latency_ms, default=None)

    @property
    def eager(self) -> Performance | None:
        """The final's figures, else those of before the search."""
        beside = (
            next((each.performance for each in self.record.baselines if each.name == "eager"), None)
            if (self.record)
            else None
        )
        return beside or (self.outline.eager if self.outline else None)


def of_ledger(path: Path, winners: Sequence[store.Entry] | None = None) -> Searched:
    """The search of one ledger; its winner is among `winners`, by default those of the cache around it.

    Raises CacheError for a file that holds no trial.
    """
    trials, outline = tuple(Ledger(path).read()), read_outline(path)
    if outline is None and not trials:
        raise CacheError(f"{path}: holds no trial of a search")
    if winners is None:
        winners = store.entries(path.parent.parent)
    entry = _winner(trials, outline, winners)
    return Searched(
        name=path.stem,
        trials=trials,
        outline=outline,
        final=read_final(path),
        record=entry.record if entry else None,
        text=entry.text if entry else None,
        ledger=path,
    )


def _winner(trials: Sequence[Trial], outline: Outline | None, winners: Iterable[store.Entry]) -> store.Entry | None:
    """The cache's entry that came of these trials."""
    hashes = {trial.candidate_sha256 for trial in trials}
    return next(
        (
            each
            for each in winners
            if each.record.candidate_sha256 in hashes
            and (
                outline is None
                or (each.record.workload, each.record.environment) == (outline.workload, outline.environment)
            )
        ),
        None,
    )


def of_entry(folder: Path) -> Searched:
    """The winner in a folder of the cache, with the search that found it where its ledger is still there.

    Raises CacheError for a folder without one.
    """
    entry = store.fetch(folder.absolute())
    if entry is None:
        raise CacheError(f"{folder}: holds no winner")
    for path in _ledgers(folder.absolute().parents[2]):
        searched = of_ledger(path, [entry])
        if searched.record is not None:
            return searched
    return Searched(name=entry.record.workload.slug, trials=(), record=entry.record, text=entry.text)


def all_searches(root: Path) -> list[Searched]:
    """Every search of a cache by name, and the winners whose ledger is gone."""
    winners = store.entries(root)
    found = [of_ledger(path, winners) for path in _ledgers(root)]
    known = {searched.record.candidate_sha256 for searched in found if searched.record}
    return [
        *found,
        *(
            Searched(name=each.record.workload.slug, trials=(), record=each.record, text=each.text)
            for each in winners
            if each.record.candidate_sha256 not in known
        ),
    ]


def _ledgers(root: Path) -> list[Path]:
    return [path for path in sorted(runs_folder(root).glob("*.jsonl")) if path.stat().st_size or read_outline(path)]


def named(paths: Sequence[Path]) -> list[Searched]:
    """The searches that are named: by a ledger, an entry's folder, a cache's folder or a config; by nothing: all.

    Raises ConfigError for a path that names none.
    """
    if not paths:
        return [each for root in settings.cache_roots(settings.working_folder()) for each in all_searches(root)]
    found: list[Searched] = []
    for path in paths:
        of_path = _named(path)
        if not of_path:
            raise ConfigError(f"{path}: nothing was searched yet; run `tuner search {path}` first")
        found += of_path
    return found


def _named(path: Path) -> list[Searched]:
    if path.suffix == ".jsonl":
        return [of_ledger(path.absolute())]
    if (path / store.RECORD).is_file():
        return [of_entry(path)]
    if path.is_dir() and not (path / "template.py").exists() and (cached := all_searches(path)):
        return cached
    one = settings.load(path)
    root = settings.cache_root(path, one.template)
    return [each for each in all_searches(root) if _is_of(each, one)]


def _is_of(searched: Searched, one: Settings) -> bool:
    """Whether a search is one that this config asks for, as far as the config says."""
    workload = searched.workload
    if searched.template != Path(one.template).name:
        return False
    if workload is None:
        return True
    return (
        (one.input_shapes is None or workload.shapes in one.input_shapes)
        and (one.init is None or workload.with_init(one.init) == workload)
        and workload.precision == one.precision
        and one.dtype in (None, workload.dtype)
    )
