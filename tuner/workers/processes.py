"""Ending processes together with all that they started."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def kill_session(leader: int) -> None:
    """Kill every process of a session, its leader last.

    The process group would not do: ninja gives each compiler that it starts a group of its own.
    """
    while members := [pid for pid in session(leader) if pid != leader]:
        for pid in members:
            _kill(pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill(pid: int) -> None:
    """Kill a worker: its session, itself in case it has not made one yet, and children in sessions of their own."""
    descendants = _descendants(pid)
    kill_session(pid)
    _kill(pid)
    for other in descendants:
        with contextlib.suppress(psutil.Error):
            other.kill()  # unless its number is another's by now


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() not in GONE:
                found.append(process.pid)
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
