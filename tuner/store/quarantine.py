"""Damaged entries are moved to `.quarantine/`: never used, never lost, in the way of no new one."""

from __future__ import annotations

import contextlib
import time

from tuner.errors import CacheError
from tuner.store.entry import CorruptEntry, Entry, read
from tuner.store.files import locked
from tuner.store.layout import QUARANTINE


def quarantined(fault: CorruptEntry, entry: Entry | None) -> CorruptEntry:
    """Move a damaged entry aside and return the error that says so.

    `entry` is what was read and found altered, None if it could not be read; if a
    writer has replaced it by now, it stays.
    """
    folder, reason = fault.folder, fault.reason
    try:
        with locked(folder.parents[2]):
            with contextlib.suppress(CorruptEntry):
                if read(folder) != entry:
                    return CorruptEntry(folder, f"{reason} (it has been replaced meanwhile; try again)")
            return moved_aside(fault)
    except CacheError as error:
        return CorruptEntry(folder, f"{reason}; it is not used, and could not be moved aside: {error}")


def moved_aside(fault: CorruptEntry) -> CorruptEntry:
    """Move a damaged entry aside, under the lock, and return the error that says so. Raises OSError."""
    folder, now = fault.folder, time.time_ns()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now // 10**9))}.{now % 10**9:09d}"
    target = folder.parents[2] / QUARANTINE / f"{'--'.join(folder.parts[-3:])[:200]}--{stamp}"
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    return CorruptEntry(folder, f"{fault.reason}; it is not used, and was moved to {target}")
