"""A worker process: runs one target's methods under deadlines and can be killed at any moment.

A worker is started by a fork server that has torch imported, so a new one takes
a fraction of a second. It leads its own process group: killing it takes the
compilers it started along. Messages are JSON over a pipe, its stdout and stderr
go to a file, and a watchdog thread ends it when the parent is gone.
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
from pathlib import Path
from typing import Any

from tuner import errors

LOG_TAIL_BYTES = 8000


class WorkerFailure(Exception):
    """A call did not come back. `phase` is what the worker said it was doing last."""

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
        handle, name = tempfile.mkstemp(prefix="tuner-worker-", suffix=".log")
        os.close(handle)
        self.log_path = Path(name)

    def start(self) -> None:
        """Start a process unless one is alive; its target is constructed on its side, at the first call."""
        if self.process is not None and self.process.is_alive():
            return
        self.stop()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "tuner.worker"])
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self.target, json.dumps(self.arguments), str(self.log_path), self.environment)
        self.process = context.Process(target=_main, args=arguments, daemon=True)
        self.process.start()
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
                left = deadline - time.monotonic()
                if left <= 0 or not self.pipe.poll(left):
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
        """Kill the process group, if there is one; a thread that waits in `call` sees a crash."""
        process = self.process
        if process is not None and process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # the group exists only once the child has made it
                os.kill(process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Kill the process group, if there is one, and reap it."""
        self.kill()
        if self.process is not None:
            self.process.join(5)
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def close(self) -> None:
        self.stop()
        self.log_path.unlink(missing_ok=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


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
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _end_with(os.getppid())
    global _pipe_to_parent
    _pipe_to_parent = pipe
    instance: Any = None
    while True:
        try:
            request = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            _end()
        try:
            os.ftruncate(log, 0)
            os.lseek(log, 0, os.SEEK_SET)
            if instance is None:
                module, _, name = target.partition(":")
                instance = getattr(importlib.import_module(module), name)(**json.loads(arguments))
            answer = {"result": getattr(instance, request["method"])(**request["payload"])}
        except errors.TunerError as fault:
            answer = {"fault": type(fault).__name__, "text": str(fault)}
        except BaseException:
            answer = {"bug": traceback.format_exc()}
        try:
            pipe.send_bytes(json.dumps(answer).encode())
        except OSError:
            _end()


def _end() -> None:
    """Leave at once and take the whole process group along."""
    os.killpg(0, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """Watch for the fork server's end (it ends with the main process) and end with it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        _end()

    threading.Thread(target=watch, daemon=True).start()
