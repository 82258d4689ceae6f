"""Nothing lasts in silence: who is told, second by second, for how long the same thing has been going on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

EVERY_S = 1.0
SILENCE_S = 2.0


class Pulse:
    """Calls `still(doing, seconds)` once a second while what `begin` named goes on for longer than SILENCE_S.

    It is called from a thread of its own, which `start` and `stop` begin and end.
    """

    def __init__(self, still: Callable[[str, float], None]) -> None:
        self.still, self.doing, self.since = still, "", time.monotonic()
        self._said_s = 0.0  # when the listener last made something of it
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, doing: str) -> None:
        """Something else goes on from now on; "" for nothing."""
        self.doing, self.since, self._said_s = doing, time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """For how long it has been going on."""
        return time.monotonic() - self.since

    def due(self, seconds: float, every_s: float) -> bool:
        """Whether the listener has said nothing of it for so long; it does now."""
        if seconds - self._said_s < every_s:
            return False
        self._said_s = seconds
        return True

    def start(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """One beat."""
        doing, seconds = self.doing, self.seconds
        if doing and seconds >= SILENCE_S:
            self.still(doing, seconds)


@contextlib.contextmanager
def telling(say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """What says a line that begins something; that this lasts is said in lines, every few seconds and then rarer."""

    def still(_: str, seconds: float) -> None:
        if pulse.due(seconds, max(SILENCE_S, seconds / 5)):
            say(f"  … {seconds:.0f} s")

    def begin(doing: str) -> None:
        pulse.begin(doing)
        say(doing)

    pulse = Pulse(still)
    pulse.start()
    try:
        yield begin
    finally:
        pulse.stop()
