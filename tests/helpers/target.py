"""What the tests of workers have one do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tuner.errors import ConfigError, ProblemError
from tuner.execution import worker


class Peculiar(ProblemError):
    """A fault of a module that the main process does not know."""


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise ValueError("has no words")


class Target:
    """What the tests have a worker do."""

    def __init__(self, greeting: str) -> None:
        self.greeting, self.calls = greeting, 0

    def greet(self, name: str) -> dict:
        self.calls += 1
        return {"text": f"{self.greeting}, {name}", "calls": self.calls, "pid": os.getpid()}

    def refuse(self, kind: str) -> None:
        raise {"config": ConfigError, "peculiar": Peculiar}[kind]("the words\nof the fault")

    def fail(self) -> None:
        return 1 / 0

    def fail_strangely(self) -> None:
        raise Unpicklable

    def leave(self) -> None:
        raise SystemExit(3)

    def surrogate(self) -> str:
        return "\udcff ümlaut"

    def not_json(self) -> object:
        return object()

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def print(self, size: int) -> int:
        print("x" * size)
        sys.stderr.write("the end\n")
        sys.stdout.flush()
        subprocess.run(["echo", "from a child"], check=True)
        return size

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, pid_file: str) -> None:
        """For longer than any test; in the phase `waiting` once the file is written."""
        worker.phase("waiting")
        Path(pid_file).write_text(f"{os.getpid()}\n")
        time.sleep(600)

    def spin(self, pid_file: str) -> None:
        """An endless loop with a child beside it."""
        worker.phase("spinning")
        Path(pid_file).write_text(f"{subprocess.Popen(['sleep', '600']).pid}\n")
        while True:
            pass

    def die(self, how: int) -> None:
        worker.phase("dying")
        os.kill(os.getpid(), how) if how else os._exit(7)

    def die_but_leave_a_fork(self) -> None:
        """The fork holds the pipe open."""
        if os.fork() == 0:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)
