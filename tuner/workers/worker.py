"""A worker process: runs one service's requests under deadlines and can be killed at any moment.

A worker is forked from a server that has torch imported, so a new one takes a fraction of a second.
It leads its own session: killing it takes the compilers it started along. Its stdout and stderr go
to a file. What runs in the process is in worker_process.py.

Nothing that comes up the pipe is trusted: lines that are too long, malformed, about another request
or surplus end the process and are this call's failure.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, cast

from pydantic import ValidationError

from tuner import errors
from tuner.workers import interruption, processes, scratch, worker_process
from tuner.workers.protocol import AnswerT, Line, Opening, Request, ServiceT, answer_type, fault

LOG_TAIL_BYTES = 8000
LEAVE_S = 3.0  # what an idle process gets to leave in order
MAX_LINE_BYTES = 2**26
READ_BYTES = 2**16
# What the fork server imports, so that no process has to; it ignores what cannot be imported. Nothing that asks for
# GPUs, as torch.utils.cpp_extension does: a process that was forked after that cannot use one. torch._dynamo is what
# the first operator on the meta device imports, a second and more in every process that looks at a problem.
PRELOADED = (
    "torch",
    "torch._dynamo",
    "setuptools.command.build_ext",
    "tuner.workers.worker",
    "tuner.measurement.bench",
)
START_TRIES, START_PAUSE_S = 20, 0.1
_starting_one = threading.Lock()  # the environment that a start changes for a moment is the whole process's


class WorkerFailure(errors.TunerError):
    """A call did not come back. `phase` is what the worker said it was doing last.

    The lane makes it the outcome of a trial. From anywhere else it ends the
    command with its one line: a process that was killed is the machine's fault.
    """

    def __init__(self, message: str, phase: str, log: str) -> None:
        super().__init__(message)
        self.phase, self.log = phase, log


class WorkerTimeout(WorkerFailure):
    """The deadline passed; the process was killed with all that it had started."""


class WorkerCrash(WorkerFailure):
    """The process ended by itself, by a signal or an exit code."""


class WorkerGarbled(WorkerFailure):
    """The process sent what is no answer; it was killed."""


class WorkerBug(Exception):
    """The service raised something that is no expected fault; carries its traceback."""


class Worker(Generic[ServiceT]):
    """One process that runs the service of `opening`, replaced after a failure.

    `environment` is added to the process's own.
    """

    def __init__(self, opening: Opening[ServiceT], environment: Mapping[str, str] | None = None) -> None:
        self.opening, self.environment = opening, {"TMPDIR": str(scratch.folder()), **(environment or {})}
        self.process: multiprocessing.process.BaseProcess | None = None
        self.pipe: multiprocessing.connection.Connection | None = None
        self.started = 0  # how many processes this worker has had
        self.requests = 0  # of all its processes; their ids
        self.starting = threading.Lock()
        self.ended = False  # by `kill`: no process may follow
        self.log_path = _new_log()

    def start(self) -> None:
        """Start a process unless one is alive and silent; its service is opened on its side, at the first request."""
        silent = self.pipe is not None and not self.pipe.poll(0)  # what comes unasked is nobody's answer
        if silent and self.process is not None and self.process.is_alive():
            return
        self.stop()
        with self.starting:
            if self.ended:
                raise WorkerCrash("the worker was ended", "start", "")
            self.process, self.pipe = self._forked_at_last()
            self.started += 1

    def _forked_at_last(self) -> tuple[multiprocessing.process.BaseProcess, multiprocessing.connection.Connection]:
        """`_forked`; a fork server that was killed is started again, as soon as the system has noticed."""
        for _ in range(START_TRIES):
            with contextlib.suppress(EOFError, ConnectionError):
                return self._forked()
            time.sleep(START_PAUSE_S)
        raise WorkerCrash("no process could be started: the server that forks them does not answer", "start", "")

    def _forked(self) -> tuple[multiprocessing.process.BaseProcess, multiprocessing.connection.Connection]:
        with contextlib.suppress(OSError):  # the last process may have put something else there
            self.log_path.unlink(missing_ok=True)
        self.log_path = _new_log()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        ours, theirs = context.Pipe()
        arguments = (theirs, pickle.dumps(self.opening), str(self.log_path), self.environment)
        process = context.Process(target=worker_process.main, args=arguments, daemon=True)
        try:
            with _starting_one, _fork_server_environment(), scratch.temporary_files_here(), _main_for(self.opening):
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def call(self, request: Request[ServiceT, AnswerT], deadline_s: float) -> AnswerT:
        """Have the worker run `request` and return its answer.

        Raises WorkerTimeout after `deadline_s` seconds, WorkerCrash when the process
        ends (noticed at once), WorkerGarbled for what is no answer, the TunerError
        that the service raised, or WorkerBug.
        """
        self.start()
        assert self.pipe is not None
        assert self.process is not None
        self.requests += 1
        subject = f"{self.opening.subject}: " if self.opening.subject else ""
        conversation = _Conversation(self.pipe, self.process, self.requests, time.monotonic() + deadline_s)
        try:
            self.pipe.send((self.requests, request))
            line = conversation.last_line()
            if line.kind == "answer":
                return cast(AnswerT, answer_type(type(request)).validate_json(line.text))
            told = fault(line.fault, line.text) if line.kind == "fault" else WorkerBug(line.text)
        except TimeoutError:
            log = self.log_tail()
            self.stop()
            raise WorkerTimeout(
                f"{subject}no answer within {deadline_s:g} s while in {conversation.phase}", conversation.phase, log
            ) from None
        except (ValueError, ValidationError):
            log = self.log_tail()
            self.stop()
            raise WorkerGarbled(
                f"{subject}the worker sent what is no answer while in {conversation.phase}", conversation.phase, log
            ) from None
        except (EOFError, OSError):
            log = self.log_tail()
            how = self._how_it_ended()
            self.stop()
            raise WorkerCrash(
                f"{subject}the worker {how} while in {conversation.phase}", conversation.phase, log
            ) from None
        except KeyboardInterrupt:  # Ctrl-C in the main thread, an Interruption elsewhere
            self.stop()
            raise
        raise told

    def log_tail(self, size: int = LOG_TAIL_BYTES) -> str:
        """The end of what the process printed during its last call."""
        with contextlib.suppress(OSError):
            # What the process has put there instead, a pipe say, may not keep this one waiting.
            handle = os.open(self.log_path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(handle, "rb") as log:
                log.seek(max(0, os.fstat(handle).st_size - size))
                return log.read(size).decode(errors="replace")
        return ""

    def _how_it_ended(self) -> str:
        assert self.process is not None
        self.process.join(2)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"

    @property
    def pid(self) -> int | None:
        """Of the living process, None where there is none."""
        return self.process.pid if self.process is not None and self.process.is_alive() else None

    def kill(self) -> None:
        """End this worker for good, from any thread: one that waits in `call` sees a crash, and so does a later one."""
        with self.starting:
            self.ended = True
            self._kill()

    def abort(self) -> None:
        """Kill the process from another thread than the one that waits in `call`, which sees a crash."""
        self._kill()

    def stop(self) -> None:
        """Kill the process and all that it started, if there is one, and reap it."""
        self._kill()
        if self.process is not None:
            self.process.join(5)
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def _kill(self) -> None:
        if self.process is not None and self.process.pid is not None:
            processes.kill(self.process.pid)

    def close(self) -> None:
        """End the process, by its own hand when it is idle, so that it clears away what it holds, else by force."""
        if self.process is not None and self.pipe is not None:
            with contextlib.suppress(OSError):
                self.pipe.send(None)
                self.process.join(LEAVE_S)
        self.stop()
        self.log_path.unlink(missing_ok=True)

    def __enter__(self) -> Worker[ServiceT]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextlib.contextmanager
def _main_for(opening: Opening[Any]) -> Iterator[None]:
    """Inside, a process that is started executes the user's script again only where the service is defined in it.

    multiprocessing would do so in any case, and a script that searches at its top level would search in every worker.
    """
    main = sys.modules["__main__"]
    if type(opening).__module__ != "__main__":
        sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Conversation:
    """The lines that come up the pipe in answer to one request, read without ever waiting beyond its deadline."""

    def __init__(
        self,
        pipe: multiprocessing.connection.Connection,
        process: multiprocessing.process.BaseProcess,
        request: int,
        deadline: float,
    ) -> None:
        self.pipe, self.process, self.request, self.deadline = pipe, process, request, deadline
        self.phase = "start"
        self.unread = bytearray()

    def last_line(self) -> Line:
        """The line that ends the call; phases ahead of it are noted.

        Raises TimeoutError, EOFError when the process is gone, and ValueError for anything but lines of this request.
        """
        while True:
            line = Line.model_validate_json(self._line())
            if line.id != self.request:
                raise ValueError("about another request")
            if line.kind != "phase":
                if self.unread or self.pipe.poll(0):
                    raise ValueError("more than one answer")
                return line
            self.phase = line.text[:200]

    def _line(self) -> bytes:
        while (end := self.unread.find(b"\n")) < 0:
            if len(self.unread) > MAX_LINE_BYTES:
                raise ValueError("a line without an end")
            self.unread += self._more()
        line = bytes(self.unread[:end])
        del self.unread[: end + 1]
        return line

    def _more(self) -> bytes:
        left = max(0.0, self.deadline - time.monotonic())
        # The process's end is watched too: whatever it forked may hold the pipe open.
        watched: list[Any] = [self.pipe, self.process.sentinel]
        heeded = interruption.heeding()
        ready = multiprocessing.connection.wait([*watched, heeded.fileno()] if heeded else watched, left)
        interruption.check()
        if self.pipe in ready:
            read = os.read(self.pipe.fileno(), READ_BYTES)
            if not read:
                raise EOFError
            return read
        if ready:
            raise EOFError
        raise TimeoutError


def _new_log() -> Path:
    handle, name = tempfile.mkstemp(prefix="worker-", suffix=".log", dir=scratch.folder())
    os.close(handle)
    return Path(name)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time one
        return f"signal {number}"


# Of the fork server, where it is not set already. It is a `python -c`: it would import a queue.py or torch.py of the
# folder that the user is in. And PyTorch's execution trace says on stderr when it is turned on and off.
FORK_SERVER = {"PYTHONSAFEPATH": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}


@contextlib.contextmanager
def _fork_server_environment() -> Iterator[None]:
    added = {name: value for name, value in FORK_SERVER.items() if name not in os.environ}
    os.environ |= added
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
