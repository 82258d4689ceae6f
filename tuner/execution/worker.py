"""A worker process: runs one target's methods under deadlines and can be killed at any moment.

A worker is started by a fork server that has torch imported, so a new one takes
a fraction of a second. It leads its own session: killing it takes the compilers
it started along. Messages are JSON over a pipe, its stdout and stderr
go to a file, and a watchdog thread ends it when the main process is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuner import errors

LOG_TAIL_BYTES = 8000
LEAVE_S = 3.0  # what an idle process gets to leave in order


class WorkerFailure(errors.TunerError):
    """A call did not come back. `phase` is what the worker said it was doing last.

    The pipeline makes it the outcome of a trial. From anywhere else it ends the
    command with its one line: a process that was killed is the machine's fault.
    """

    def __init__(self, message: str, phase: str, log: str) -> None:
        super().__init__(message)
        self.phase, self.log = phase, log


class WorkerTimeout(WorkerFailure):
    """The deadline passed; the process group was killed."""


class WorkerCrash(WorkerFailure):
    """The process ended by itself, by a signal or an exit code."""


class WorkerBug(Exception):
    """The target raised something that is no expected fault; carries its traceback."""


class Worker:
    """One process running `target` ("module:Class" called with `arguments`), replaced after a failure."""

    def __init__(self, target: str, arguments: dict[str, Any], environment: dict[str, str] | None = None) -> None:
        self.target, self.arguments, self.environment = target, arguments, environment or {}
        self.process: multiprocessing.process.BaseProcess | None = None
        self.pipe: multiprocessing.connection.Connection | None = None
        self.started = 0  # how many processes this worker has had
        self.starting = threading.Lock()
        self.ended = False  # by `kill`: no process may follow
        handle, name = tempfile.mkstemp(prefix=f"tuner-worker-{os.getpid()}-", suffix=".log")
        os.close(handle)
        self.log_path = Path(name)

    def start(self) -> None:
        """Start a process unless one is alive; its target is constructed on its side, at the first call."""
        if self.process is not None and self.process.is_alive():
            return
        self.stop()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "tuner.execution.worker"])
        with self.starting:
            if self.ended:
                raise WorkerCrash("the worker was ended", "start", "")
            self.pipe, theirs = context.Pipe()
            arguments = (theirs, self.target, json.dumps(self.arguments), str(self.log_path), self.environment)
            process = context.Process(target=_main, args=arguments, daemon=True)
            with _fork_server_environment():
                process.start()
            self.process = process
            theirs.close()
            self.started += 1

    def call(self, method: str, deadline_s: float, **payload: Any) -> Any:
        """Run `target.method(**payload)` in the worker and return its JSON result.

        Raises WorkerTimeout after `deadline_s` seconds, WorkerCrash when the process
        ends (noticed at once), the TunerError the target raised, or WorkerBug.
        """
        self.start()
        assert self.pipe is not None and self.process is not None
        phase = "start"
        deadline = time.monotonic() + deadline_s
        try:
            self.pipe.send_bytes(json.dumps({"method": method, "payload": payload}).encode())
            while True:
                left = max(0.0, deadline - time.monotonic())
                # The process's end is watched too: whatever it forked may hold the pipe open.
                ready = multiprocessing.connection.wait([self.pipe, self.process.sentinel], left)
                if ready and self.pipe not in ready:
                    raise EOFError
                if not ready:
                    log = self.log_tail()
                    self.stop()
                    raise WorkerTimeout(f"no answer within {deadline_s:g} s while in {phase}", phase, log)
                message = json.loads(self.pipe.recv_bytes())
                if "phase" in message:
                    phase = message["phase"]
                    continue
                break
        except (EOFError, ConnectionError, OSError):
            log = self.log_tail()
            how = self._how_it_ended()
            self.stop()
            raise WorkerCrash(f"the worker {how} while in {phase}", phase, log) from None
        except KeyboardInterrupt:
            self.stop()
            raise
        if "fault" in message:
            raise getattr(errors, message["fault"])(message["text"])
        if "bug" in message:
            raise WorkerBug(message["bug"])
        return message["result"]

    def log_tail(self, size: int = LOG_TAIL_BYTES) -> str:
        """The end of what the process printed during its last call."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - size))
            return log.read().decode(errors="replace")
        return ""

    def _how_it_ended(self) -> str:
        assert self.process is not None
        self.process.join(2)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    def kill(self) -> None:
        """End this worker for good, from any thread: one that waits in `call` sees a crash, and so does a later one."""
        with self.starting:
            self.ended = True
            _kill(self.process)

    def stop(self) -> None:
        """Kill the process and all that it started, if there is one, and reap it."""
        if self.process is not None:
            _kill(self.process)
            self.process.join(5)
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def close(self) -> None:
        """End the process, by its own hand when it is idle, so that it clears away what it holds, else by force."""
        if self.process is not None and self.pipe is not None:
            with contextlib.suppress(OSError):
                self.pipe.send_bytes(b"null")
                self.process.join(LEAVE_S)
        self.stop()
        self.log_path.unlink(missing_ok=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _kill(process: multiprocessing.process.BaseProcess | None) -> None:
    if process is None or process.pid is None:
        return
    _kill_session(process.pid)
    with contextlib.suppress(ProcessLookupError):  # the session exists only once the child has made it
        os.kill(process.pid, signal.SIGKILL)


def _kill_session(leader: int) -> None:
    """Kill every process of a session, its leader last.

    The process group would not do: ninja gives each compiler that it starts a group of its own.
    """
    while members := [pid for pid in _session(leader) if pid != leader]:
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """The living processes of a session, as /proc lists them."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        with contextlib.suppress(OSError):
            if name.isdigit():
                state, _, _, session, *_ = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
                if int(session) == leader and state not in "ZX":
                    found.append(int(name))
    return found


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


# ---- inside the process ----------------------------------------------------------------------------

_pipe_to_parent: multiprocessing.connection.Connection | None = None


def phase(name: str) -> None:
    """Tell the parent what this worker is about to do; it names the phase of a crash or a timeout."""
    if _pipe_to_parent is not None:
        _pipe_to_parent.send_bytes(json.dumps({"phase": name}).encode())


def _main(
    pipe: multiprocessing.connection.Connection,
    target: str,
    arguments: str,
    log_path: str,
    environment: dict[str, str],
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    os.environ.update(environment)
    if "PYTHONSAFEPATH" not in environment:  # it was the fork server's
        os.environ.pop("PYTHONSAFEPATH", None)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_end_with_main, daemon=True).start()
    global _pipe_to_parent
    _pipe_to_parent = pipe
    instance: Any = None
    while True:
        try:
            request = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            _end()
        if request is None:  # the parent closes this worker
            return
        try:
            os.ftruncate(log, 0)
            os.lseek(log, 0, os.SEEK_SET)
            if instance is None:
                module, _, name = target.partition(":")
                instance = getattr(importlib.import_module(module), name)(**json.loads(arguments))
            answer = _encoded({"result": getattr(instance, request["method"])(**request["payload"])})
        except errors.TunerError as fault:
            known = next(kind for kind in type(fault).__mro__ if kind.__module__ == errors.__name__)
            answer = _encoded({"fault": known.__name__, "text": str(fault)})
        except BaseException:
            answer = _encoded({"bug": traceback.format_exc()})
        try:
            pipe.send_bytes(answer)
        except OSError:
            _end()


def _end() -> None:
    """Leave at once and take along whatever was started."""
    _kill_session(os.getpid())


def _end_with_main() -> None:
    """Wait for the end of the main process, which closes a pipe by it, and end as well."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    _end()


def _encoded(answer: dict[str, Any]) -> bytes:
    """As JSON; half a surrogate pair, which no file could keep, becomes a question mark."""
    return json.dumps(answer, ensure_ascii=False).encode(errors="replace")
