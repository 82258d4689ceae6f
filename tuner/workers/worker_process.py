"""What runs in a worker process: one service, one request after the other."""

from __future__ import annotations

import json
import os
import pickle
import signal
import tempfile
import threading
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from tuner import errors
from tuner.workers.processes import kill_session
from tuner.workers.protocol import Line, Opening, Request, answer_type, fault_kind


def main(pipe: Connection, opening: bytes, log_path: str, environment: dict[str, str]) -> None:
    """Open the service that `opening` pickles at the first request, and answer until the main process closes."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    if "PYTHONSAFEPATH" not in environment:  # it was the fork server's
        os.environ.pop("PYTHONSAFEPATH", None)
    tempfile.tempdir = None  # read TMPDIR again
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_end_with_main_process, daemon=True).start()
    _Server(pipe, pickle.loads(opening), log).serve()


class _Server:
    def __init__(self, pipe: Connection, opening: Opening[Any], log: int) -> None:
        self.pipe, self.opening, self.log = pipe, opening, log
        self.service: Any = None
        self.request = 0

    def serve(self) -> None:
        while True:
            try:
                message: tuple[int, Request[Any, Any]] | None = self.pipe.recv()
            except (EOFError, OSError):
                _end()
            if message is None:  # the main process closes this worker
                return
            self.request, request = message
            line = self._answered(request)
            try:
                self._send(line)
            except OSError:
                _end()

    def report(self, phase: str) -> None:
        """Tell the main process what is about to be done; it names the phase of a crash or a timeout."""
        self._send(Line(id=self.request, kind="phase", text=phase))

    def _answered(self, request: Request[Any, Any]) -> Line:
        try:
            os.ftruncate(self.log, 0)
            os.lseek(self.log, 0, os.SEEK_SET)
            if self.service is None:
                self.service = self.opening.open(self.report)
            answer = request.run(self.service)
            plain = answer_type(type(request)).dump_python(answer, mode="json")
            return Line(id=self.request, kind="answer", text=_kept(json.dumps(plain, ensure_ascii=False)))
        except errors.TunerError as error:
            return Line(id=self.request, kind="fault", text=_kept(str(error)), fault=fault_kind(error))
        except BaseException as error:
            return Line(id=self.request, kind="bug", text=_kept(_traceback(error)))

    def _send(self, line: Line) -> None:
        left = memoryview(line.model_dump_json().encode() + b"\n")
        while left:
            left = left[os.write(self.pipe.fileno(), left) :]


def _traceback(error: BaseException) -> str:
    """The error's traceback; it may be of a candidate's making and refuse even that."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        return f"Traceback: {type(error).__name__}, which cannot be printed"


def _kept(text: str) -> str:
    """Half a surrogate pair, which no file could keep, becomes a question mark."""
    return text.encode(errors="replace").decode()


def _end() -> None:
    """Leave at once and take along whatever was started."""
    kill_session(os.getpid())
    os._exit(1)


def _end_with_main_process() -> None:
    """Wait for the end of the main process, which closes a pipe by it, and end as well."""
    main_process = parent_process()
    assert main_process is not None
    main_process.join()
    _end()
