"""Nothing lasts two seconds in silence: while the same thing goes on, that it does and for how long is said."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

LOOK_EVERY_S = 0.2
QUIET_S = 1.5  # and not two: on a busy machine a thread wakes late


class Pulse:
    """Calls `still(doing, seconds)` whenever nothing was heard for QUIET_S while what `begin` named goes on.

    It does so from a thread of its own, which `start` and `stop` begin and end. What is heard of one is heard of all in
    a process, and of several that something goes on in, the one started last speaks: it is about a part of the others.
    """

    _started: ClassVar[list[Pulse]] = []
    _heard: ClassVar[float] = 0.0

    def __init__(self, still: Callable[[str, float], None]) -> None:
        self.still, self.doing, self.since = still, "", time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, doing: str) -> None:
        """Something else goes on from now on; "" for nothing."""
        self.doing, self.since = doing, time.monotonic()

    @staticmethod
    def heard() -> None:
        """Something was said, whatever it was about."""
        Pulse._heard = time.monotonic()

    @property
    def seconds(self) -> float:
        """For how long it has been going on."""
        return time.monotonic() - self.since

    def start(self) -> None:
        self.heard()
        self._started.append(self)
        self._over.clear()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._started.remove(self)

    def _beat(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            speaks = next((pulse for pulse in reversed(self._started) if pulse.doing), None)
            try:
                if speaks is self:
                    self.look()
            except (OSError, ValueError):  # the reader went away, which whoever says the next line finds out
                return

    def look(self) -> None:
        """One beat."""
        if self.doing and time.monotonic() - Pulse._heard >= QUIET_S:
            self.speak()

    def speak(self) -> None:
        """Have it said now; who says it in a line has that heard."""
        self.still(self.doing, self.seconds)


def lasting(doing: str, seconds: float) -> str:
    """The line that says so."""
    return f"  … {seconds:.0f} s: {doing}"


@contextlib.contextmanager
def going_on(doing: str, say: Callable[[str], None]) -> Iterator[Pulse]:
    """Inside, that this goes on is said in lines; `begin` of what comes names something else."""

    def still(what: str, seconds: float) -> None:
        say(lasting(what, seconds))
        pulse.heard()

    pulse = Pulse(still)
    pulse.begin(doing)
    pulse.start()
    try:
        yield pulse
    finally:
        pulse.stop()


@contextlib.contextmanager
def telling(say: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """What says a line that begins something; that this lasts is said in more lines."""
    with going_on("", say) as pulse:

        def begin(doing: str) -> None:
            pulse.begin(doing)
            say(doing)
            pulse.heard()

        yield begin
