"""What runs in the process of a Dask worker: it holds one device, and starts processes that measure on it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import distributed

from tuner import backends
from tuner.backends import toolchain
from tuner.cluster.bay import LOOK_EVERY_S, Bay, Opened, Subject
from tuner.errors import TunerError
from tuner.records import Environment
from tuner.settings import resolve
from tuner.workers.interruption import Interruption
from tuner.workers.protocol import fault_kind

DEVICE_VARIABLE = "TUNER_DEVICE"  # of the worker's process: the device that it holds


@dataclass(frozen=True)
class Enlisted:
    """What a worker says of itself. `kind` is the resource that trials for such devices ask for."""

    host: str
    device: str
    parts: tuple[str, ...]  # of the host, which no other worker may hold
    environment: Environment
    kind: str
    slots: int  # trials at once: one is measured, the others compile


@dataclass(frozen=True)
class Answer:
    """What came of something that was asked: a value, or with `fault` its words and the name of its kind."""

    worker: str
    value: Any = None
    kind: str = ""
    fault: str = ""


_bays: weakref.WeakKeyDictionary[distributed.Worker, Bay] = weakref.WeakKeyDictionary()


async def enlist(kind_of: Callable[[Environment], str], dask_worker: distributed.Worker) -> Enlisted | str:
    """Ask this worker what it holds, and have it take trials for it from now on; a fault's line where it cannot."""
    # Dask's nanny makes a daemon of its worker, which could start no process of its own.
    multiprocessing.current_process().daemon = False
    try:
        device = backends.resolve(os.environ.get(DEVICE_VARIABLE) or "auto")
        await asyncio.to_thread(toolchain.need_toolchain)
        environment = await asyncio.to_thread(resolve.here, device, toolchain.environment())
    except TunerError as fault:
        return str(fault)
    backend = backends.of(device)
    ahead = backend.compile_processes() if backend.compiles_beside_measuring else 0
    slots = max(1, min(dask_worker.state.nthreads, 1 + ahead))
    if dask_worker not in _bays:
        _bays[dask_worker] = Bay(
            device, environment, lambda topic, what, values: _tell(dask_worker, topic, what, values)
        )
    kind = kind_of(environment)
    await dask_worker.set_resources(**{kind: slots})
    return Enlisted(socket.gethostname(), device, backend.parts(), environment, kind, slots)


def _tell(worker: distributed.Worker, topic: str, what: str, values: list[Any]) -> None:
    worker.log_event(topic, [what, values])


def perform(subject: Subject, call: Callable[[Opened], Any]) -> Answer:
    """A task: do what is asked with what is open for its subject on this worker's device."""
    worker = distributed.get_worker()
    try:
        with _heeding(worker, worker.get_current_task()), _bays[worker].at(subject) as opened:
            return Answer(worker.address, call(opened))
    except TunerError as fault:
        return Answer(worker.address, kind=fault_kind(fault), fault=str(fault) or type(fault).__name__)
    except KeyboardInterrupt:
        return Answer(worker.address, kind="DeviceFailed", fault="nobody wanted it any more")


@contextlib.contextmanager
def _heeding(worker: distributed.Worker, key: Any) -> Iterator[None]:
    """Inside, this thread is interrupted when the scheduler takes the task away from this worker."""
    wanted, done = Interruption(), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY_S):
            task = worker.state.tasks.get(key)
            if task is None or task.state not in ("executing", "long-running"):
                wanted.set()
                return

    watching = threading.Thread(target=look, name="wanted", daemon=True)
    watching.start()
    try:
        with wanted.heeded():
            yield
    finally:
        done.set()


async def let_go(topic: str, dask_worker: distributed.Worker) -> None:
    """A search has ended: its processes on this worker go."""
    bay = _bays.get(dask_worker)
    if bay is not None:
        await asyncio.to_thread(bay.let_go, topic)


async def discharge(kind: str, dask_worker: distributed.Worker) -> None:
    """Have this worker take no trials."""
    await dask_worker.set_resources(**{kind: 0})
