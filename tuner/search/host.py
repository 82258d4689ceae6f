"""The searches of a command, shared out over the devices of the host: a thread a device, one queue of searches.

A search stays on one device from its first trial to its final. Where there are fewer searches than devices of their
kind, devices without one help: a search's trials are spread, its final runs on its own device. Devices of different
kinds each have all the searches: a winner is a kind's own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace

from tuner import backends
from tuner.errors import DeviceError, DeviceFailed, TunerError
from tuner.execution.compilers import Compilers
from tuner.execution.job import Job
from tuner.execution.lane import Lane
from tuner.execution.pipeline import Pipeline
from tuner.execution.spread import FAILURES, Member, Spread
from tuner.records import Environment
from tuner.search.board import Board
from tuner.search.outcomes import LOOK_EVERY_S, Done, Results, as_done
from tuner.search.station import Here, Measuring
from tuner.search.tune import Asked, tune_one
from tuner.settings import resolve
from tuner.workers import interruption, scratch
from tuner.workers.interruption import Interruption


@dataclass
class Card:
    """A device of the host. `kind` says with which its measurements may be compared."""

    device: str
    kind: Environment
    failures: int = 0
    left_out: bool = False


@dataclass
class Search:
    """One search on one kind of device: waiting, or under way on `card`."""

    asked: Asked
    kind: Environment
    devices: frozenset[str]  # that its config allows
    failed_on: list[str] = field(default_factory=list)
    card: Card | None = None
    here: Here | None = None  # with `spread`, while other devices may help
    spread: Spread | None = None
    helpers: int = 0

    def takes(self, card: Card) -> bool:
        return card.kind == self.kind and card.device in self.devices


class Host:
    """Runs every search of `asked`, each with the devices that its config allows.

    Raises DeviceError for a device that does not work.
    """

    def __init__(
        self,
        asked: Sequence[tuple[Asked, Sequence[str]]],
        board: Board,
        fresh: bool = False,
        replace_faster: bool = False,
    ) -> None:
        self.board, self.fresh, self.replace_faster = board, fresh, replace_faster
        names = list(dict.fromkeys(device for _, devices in asked for device in devices))
        self.cards = [Card(name, self._environment(name, asked[0][0])) for name in names]
        kinds = {card.device: card.kind for card in self.cards}
        self.waiting = [
            Search(each, kind, frozenset(devices))
            for each, devices in asked
            for kind in dict.fromkeys(kinds[device] for device in devices)
        ]
        self.total = len(self.waiting)
        self.under_way: list[Search] = []
        self.changed = threading.Condition()
        self.interruption = Interruption()
        self.interrupted = False  # before all searches had their turn
        self.results: Results = queue.SimpleQueue()
        self.pool = self._pool()

    def _environment(self, device: str, one: Asked) -> Environment:
        self.board.device(device, "starting")
        return resolve.here(device, one.environment)

    def _pool(self) -> Compilers | None:
        """One for all devices that compilers do not disturb."""
        beside = [card.device for card in self.cards if backends.of(card.device).compiles_beside_measuring]
        if not beside:
            return None
        most = sum(backends.of(device).compile_processes() for device in beside)
        size = max(1, min(most, (os.cpu_count() or 2) - len(self.cards)))
        return Compilers(size, self.waiting[0].asked.environment, beside[0])

    # ---- the main thread --------------------------------------------------------------------------

    def outcomes(self) -> Generator[Done, None, None]:
        """What came of each search, as each is done. Ctrl-C ends them all; each keeps its best so far."""
        threads = [
            threading.Thread(target=self._work, args=[card], name=card.device, daemon=True) for card in self.cards
        ]
        try:
            yield from as_done(threads, self.results, self.interruption)
        finally:
            if self.pool is not None:
                self.pool.close()
        for search in self.waiting if not self.interrupted else ():
            fault = DeviceError(f"{search.kind.words}: every device of this kind was left out")
            yield Done(search.asked, "", fault=fault)

    # ---- a device's thread ------------------------------------------------------------------------

    def _work(self, card: Card) -> None:
        try:
            with self.interruption.heeded():
                while True:
                    search, helping = self._next_for(card)
                    if search is None:
                        break
                    if helping:
                        self._help(card, search)
                    else:
                        self._search(card, search)
        except KeyboardInterrupt:
            self.interrupted = True
        except BaseException as bug:  # the main thread raises it
            self.results.put(bug)
        if not card.left_out:
            self.board.device(card.device, "done")

    def _next_for(self, card: Card) -> tuple[Search | None, bool]:
        """What this device does next: a search, helping with one, or nothing any more."""
        with self.changed:
            while True:
                interruption.check()
                if card.left_out:
                    return None, False
                mine = [search for search in self.waiting if search.takes(card)]
                fit = [search for search in mine if card.device not in search.failed_on or not self._others(card)]
                if fit:
                    self.waiting.remove(fit[0])
                    self.under_way.append(fit[0])
                    fit[0].card = card
                    self._tell()
                    return fit[0], False
                running = [search for search in self.under_way if search.takes(card)]
                open_ones = [search for search in running if search.spread is not None] if not mine else []
                if open_ones:
                    search = min(open_ones, key=lambda each: each.helpers)
                    search.helpers += 1
                    return search, True
                if not mine and not running:
                    return None, False
                why = "the trials of another search may be shared" if self._spreads(card.kind) else "searches may fail"
                self.board.device(card.device, f"idle; no search is left, but {why}")
                self.changed.wait(LOOK_EVERY_S)

    def _others(self, card: Card) -> bool:
        """Whether other devices of this kind are left."""
        return any(other is not card and other.kind == card.kind and not other.left_out for other in self.cards)

    def _spreads(self, kind: Environment) -> bool:
        """Whether there are fewer searches than devices of this kind."""
        searches = sum(search.kind == kind for search in [*self.waiting, *self.under_way])
        return searches < sum(card.kind == kind and not card.left_out for card in self.cards)

    def _tell(self) -> None:
        done = self.total - len(self.waiting) - len(self.under_way)
        self.board.total(done, len(self.under_way), len(self.waiting), self.total)

    # ---- a search ---------------------------------------------------------------------------------

    def _search(self, card: Card, search: Search) -> None:
        observer = self.board.on(card.device, search.asked.settings.template)
        fresh = self.fresh and not search.failed_on  # what was measured before a device failed is kept
        result: Done | None = None
        try:
            place = _Place(self, search)
            outcome = tune_one(search.asked, card.device, observer, place, fresh, self.replace_faster)
            self.interrupted |= outcome.progress.stopped == "interrupted"
            result = Done(search.asked, card.device, outcome)
        except DeviceFailed as failure:
            result = self._failed(card, search, failure)
        except TunerError as fault:
            result = Done(search.asked, card.device, fault=fault)
        finally:
            with self.changed:
                self.under_way.remove(search)
                search.card = None
                if result is None and not self.interruption.is_set():
                    self.waiting.insert(0, search)
                self.changed.notify_all()
            self._tell()
        if result is not None:
            self.results.put(result)

    def _failed(self, card: Card, search: Search, failure: DeviceFailed) -> Done | None:
        """None where the search goes on elsewhere; its fault, when device after device fails at it."""
        search.failed_on.append(card.device)
        if len(search.failed_on) < FAILURES:
            self.count_failure(card.device)
            self.board.note(card.device, f"{failure}; the search goes on where it stopped, on another device if it can")
            return None
        if len(set(search.failed_on)) > 1:  # it is the search, not the devices
            with self.changed:
                for device in search.failed_on[:-1]:
                    self._card(device).failures -= 1
        else:
            self.count_failure(card.device)
        return Done(search.asked, card.device, fault=failure)

    def count_failure(self, device: str) -> int:
        """How many failures the device has had with this one; with the third it is left out."""
        with self.changed:
            card = self._card(device)
            card.failures += 1
            if card.failures >= FAILURES and not card.left_out:
                card.left_out = True
                self.board.device(device, f"left out: it failed {FAILURES} times")
            self.changed.notify_all()
            return card.failures

    def _card(self, device: str) -> Card:
        return next(card for card in self.cards if card.device == device)

    # ---- helping ----------------------------------------------------------------------------------

    def offer(self, search: Search, here: Here, spread: Spread) -> None:
        """Devices without a search of their own may help with this one from now on."""
        with self.changed:
            search.here, search.spread, search.helpers = here, spread, 0
            self.changed.notify_all()

    def withdraw(self, search: Search) -> None:
        with self.changed:
            search.here = search.spread = None

    def spreads(self, search: Search) -> bool:
        with self.changed:
            return self._spreads(search.kind)

    def _help(self, card: Card, search: Search) -> None:
        with self.changed:
            here, spread = search.here, search.spread
        if here is None or spread is None:
            return
        own = search.card.device if search.card is not None else ""
        self.board.device(card.device, f"helps {own} with {search.asked.settings.template}")
        job = replace(here.job, torch_device=card.device, seed=secrets.randbits(31))
        try:
            with (
                scratch.subfolder() as room,
                closing(Lane(job, here.folder, lambda text: self.board.device(card.device, text), room)) as lane,
                self.compilers(job) as compilers,
            ):
                pipeline = Pipeline(job, lane, here.folder, spread.home.pipeline.floor_ms, compilers)
                self._take_part(spread.invited(pipeline), spread, lane)
        except DeviceFailed as failure:
            failures = self.count_failure(card.device)
            self.board.note(card.device, f"{failure} ({failures} of {FAILURES})")

    @staticmethod
    def _take_part(member: Member, spread: Spread, lane: Lane) -> None:
        with member.interruption.heeded(), contextlib.suppress(KeyboardInterrupt):
            lane.prepare()
            spread.join(member)

    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        """The host's pool, or one of the device's own where compiling would disturb other devices."""
        if self.pool is not None and backends.of(job.torch_device).compiles_beside_measuring:
            return contextlib.nullcontext(self.pool)
        return closing(Compilers(1, job.environment, job.torch_device))


class _Place:
    """Implements `station.Place` for a search on this host."""

    def __init__(self, host: Host, search: Search) -> None:
        self.host, self.search = host, search

    def compilers(self, job: Job) -> AbstractContextManager[Compilers]:
        return self.host.compilers(job)

    @contextlib.contextmanager
    def trials(self, here: Here, pipeline: Pipeline) -> Iterator[Measuring]:
        if not self.host.spreads(self.search):
            with closing(pipeline):
                yield pipeline
            return
        with closing(Spread(pipeline, self.host.count_failure, here.told.stage)) as spread:
            self.host.offer(self.search, here, spread)
            try:
                yield spread
            finally:
                self.host.withdraw(self.search)
