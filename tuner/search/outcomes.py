"""What came of several searches that run in threads, as each is done."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuner.errors import TunerError
from tuner.search.tune import Asked, Outcome
from tuner.workers.interruption import Interruption

LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Done:
    """A search that has ended: with an outcome, or with a fault that the user can mend."""

    asked: Asked
    device: str
    outcome: Outcome | None = None
    fault: TunerError | None = None


Results = queue.SimpleQueue[Done | BaseException]  # what threads say; a bug is raised by whoever reads it


def as_done(threads: Sequence[threading.Thread], results: Results, interruption: Interruption) -> Iterator[Done]:
    """Start the threads, and pass on what they say until all have ended.

    Ctrl-C interrupts them, and what they keep is still passed on. So does whoever closes this, who then waits for them.
    """
    for thread in threads:
        thread.start()
    try:
        while True:
            alive = any(thread.is_alive() for thread in threads)
            try:
                result = results.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if not alive:
                    return
                continue
            except KeyboardInterrupt:
                interruption.set()
                continue
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        interruption.set()
        for thread in threads:
            thread.join()
