"""Ctrl-C for threads: only the main thread is told of a signal, so the others wait for what it can set.

Inside `with interruption.heeded():` whatever this thread waits for in a worker, or in `check`, raises
KeyboardInterrupt as soon as the interruption is set, as Ctrl-C does in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_of_thread = threading.local()


class Interruption:
    """Set once, from any thread; it stays set."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._event = threading.Event()

    def fileno(self) -> int:
        """Readable when it is set, for whoever waits for several things."""
        return self._reader

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        if not self._event.is_set():
            self._event.set()
            os.write(self._writer, b"!")

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Inside, this thread is interrupted by it, and by it alone."""
        before = heeding()
        _of_thread.interruption = self
        try:
            yield
        finally:
            _of_thread.interruption = before

    def __del__(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def heeding() -> Interruption | None:
    """What this thread heeds; None in the main thread, which has the signals."""
    found: Interruption | None = getattr(_of_thread, "interruption", None)
    return found


def check() -> None:
    """Raise KeyboardInterrupt if what this thread heeds is set."""
    interruption = heeding()
    if interruption is not None and interruption.is_set():
        raise KeyboardInterrupt
