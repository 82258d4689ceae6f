"""A task of a cluster, from whoever asks for it to its answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import threading
from collections.abc import Callable
from typing import Any

import distributed
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from tuner.cluster.bay import Opened, Subject
from tuner.cluster.worker import Answer
from tuner.errors import DeviceError, DeviceFailed

# What a scheduler that is gone makes of a future, and of a call.
LOST = (asyncio.CancelledError, concurrent.futures.CancelledError, FutureCancelledError, TimeoutError, OSError)

ANSWER_WITHIN_S = 30.0  # a few hundred bytes, from a worker that has said that it is done


class Task:
    """Something that is asked of a device of some kind, rather one `on` these workers, or one of them `only`."""

    def __init__(
        self,
        client: distributed.Client,
        perform: Callable[[Subject, Any], Answer],
        kind: str,
        asked: tuple[Subject, Callable[[Opened], Any]],
        priority: int,
        on: list[str],
        only: bool,
    ) -> None:
        self.client, self.perform, self.kind, self.asked = client, perform, kind, asked
        self.priority, self.on, self.only = priority, on, only
        self.unplaced = 0  # how often in a row it was looked for in vain
        self.future: distributed.Future[Answer] | None = None
        self._lock = threading.RLock()
        self._is_done = False
        self._done: Callable[[], object] = lambda: None

    def begin(self, done: Callable[[], object]) -> None:
        """Send it to whatever device the scheduler finds; `done` is called once, in some thread."""
        self._done = done
        self.again()

    def again(self) -> None:
        """Send it in the place of an earlier future, unless that is done."""
        with self._lock:
            if self._is_done:
                return
            self.unplaced = 0
            self.future = self.client.submit(
                self.perform,
                *self.asked,
                key=f"tuner-{secrets.token_hex(8)}",
                pure=False,
                priority=self.priority,
                resources={self.kind: 1},
                workers=self.on or None,
                allow_other_workers=bool(self.on) and not self.only,
            )
            self.future.add_done_callback(self._told)

    @property
    def key(self) -> str:
        """By which the scheduler knows it."""
        return "" if self.future is None else str(self.future.key)

    @property
    def is_pending(self) -> bool:
        """Whether the scheduler has not said yet that it has ended."""
        return self.future is None or self.future.status == "pending"

    def _told(self, future: distributed.Future[Answer]) -> None:
        with self._lock:
            if self._is_done or future is not self.future:
                return
            self._is_done = True
            done, self._done = self._done, lambda: None
        done()

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._is_done = True

    def answer(self) -> Answer | None:
        """Once it is done; None where the answer was lost with its worker. Raises DeviceError for a scheduler gone."""
        assert self.future is not None
        try:
            answer: Answer = self.future.result(timeout=ANSWER_WITHIN_S)
        except KilledWorker as killed:
            return Answer("", None, DeviceFailed.__name__, f"{killed.allowed_failures + 1} workers died while at it")
        except TimeoutError:  # Dask would have it computed anew, and may find no worker for that
            self.client.cancel([self.future])
            return None
        except LOST:
            if self.future.status == "error":
                raise  # a bug, and its own traceback
            raise DeviceError("the scheduler is gone; the same command goes on where this one stopped") from None
        return answer
