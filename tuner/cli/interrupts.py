"""Signals that ask a command to end: as Ctrl-C does, the best so far is kept and temporary files go."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
_received = signal.SIGINT


def install() -> None:
    """From here on SIGTERM and SIGHUP raise KeyboardInterrupt, once each."""
    with contextlib.suppress(ValueError):  # not in the main thread: whoever runs this has his own ways
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and so does what it runs
                signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    global _received
    _received = signal.Signals(number)
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def exit_code() -> int:
    """Of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    return 128 + _received
