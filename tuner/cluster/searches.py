"""The searches of a command on a cluster: one after the other has its trials, spread over all devices of a kind.

While a search's final is on one device, the next one's trials are on the others. Kinds of devices are side by side,
each with all the searches.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing

from tuner.cluster.bay import Subject
from tuner.cluster.station import Remote
from tuner.cluster.workers import Workers
from tuner.errors import TunerError
from tuner.records import Environment
from tuner.search.board import Board
from tuner.search.outcomes import LOOK_EVERY_S, Done, Results, as_done
from tuner.search.tune import Asked, tune_at
from tuner.workers import interruption
from tuner.workers.interruption import Interruption


class Searches:
    """Runs every search of `asked` on each of the kinds that go with it."""

    def __init__(
        self,
        workers: Workers,
        asked: Sequence[tuple[Asked, Mapping[str, Environment]]],
        board: Board,
        fresh: bool = False,
        replace_faster: bool = False,
    ) -> None:
        self.workers, self.board, self.fresh, self.replace_faster = workers, board, fresh, replace_faster
        self.of_kind: dict[str, list[Asked]] = {}
        self.names: dict[str, str] = {}
        for one, kinds in asked:
            for kind, environment in kinds.items():
                self.of_kind.setdefault(kind, []).append(one)
                self.names[kind] = environment.words
        self.total = sum(map(len, self.of_kind.values()))
        self.begun = self.ended = 0
        self.lock = threading.Lock()
        self.interruption = Interruption()
        self.interrupted = False  # before all searches had their turn
        self.results: Results = queue.SimpleQueue()

    def outcomes(self) -> Generator[Done, None, None]:
        """What came of each search, as each is done. Ctrl-C ends them all; each keeps its best so far."""
        threads = [threading.Thread(target=self._one_kind, args=[kind], daemon=True) for kind in self.of_kind]
        yield from as_done(threads, self.results, self.interruption)

    def _one_kind(self, kind: str) -> None:
        """A kind's thread: the next search begins when the trials of the one before are done."""
        threads: list[threading.Thread] = []
        try:
            with self.interruption.heeded():
                for one in self.of_kind[kind]:
                    searched = threading.Event()
                    threads.append(threading.Thread(target=self._search, args=[one, kind, searched], daemon=True))
                    threads[-1].start()
                    while not searched.wait(LOOK_EVERY_S):
                        interruption.check()
        except KeyboardInterrupt:
            self.interrupted = True
        for thread in threads:
            thread.join()

    def _search(self, one: Asked, kind: str, searched: threading.Event) -> None:
        observer = self.board.on(self.names[kind], one.settings.template)
        self._tell(begun=1)
        try:
            with (
                self.interruption.heeded(),
                closing(Remote(self.workers, kind, _subject(one), observer, searched.set)) as at,
            ):
                outcome = tune_at(one, at, observer, self.fresh, self.replace_faster)
            self.interrupted |= outcome.progress.stopped == "interrupted"
            self.results.put(Done(one, self.names[kind], outcome))
        except TunerError as fault:
            self.results.put(Done(one, self.names[kind], fault=fault))
        except KeyboardInterrupt:
            self.interrupted = True
        except BaseException as bug:  # the main thread raises it
            self.results.put(bug)
        finally:
            searched.set()
            self._tell(ended=1)

    def _tell(self, begun: int = 0, ended: int = 0) -> None:
        with self.lock:
            self.begun += begun
            self.ended += ended
            self.board.total(self.ended, self.begun - self.ended, self.total - self.begun, self.total)


def _subject(one: Asked) -> Subject:
    return Subject(
        topic=f"tuner-{secrets.token_hex(8)}",
        file_name=one.problem.name,
        problem=one.problem.read_text(encoding="utf-8"),
        workload=one.workload,
        error_budget=one.settings.error_budget,
        compile_timeout_s=one.settings.compile_timeout_s,
        run_timeout_s=one.settings.run_timeout_s,
    )
