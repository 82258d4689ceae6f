"""What the tests of workers have one do: a service and its requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import ConfigError, ProblemError
from tuner.workers.protocol import Opening, Report, Request


class Peculiar(ProblemError):
    """A fault of a module that the main process does not know."""


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()

    def __str__(self) -> str:
        raise SystemExit("has no words")


class Greeter:
    """A service that counts what it was asked."""

    def __init__(self, greeting: str, report: Report) -> None:
        self.greeting, self.report, self.calls = greeting, report, 0


@dataclass(frozen=True)
class OpenGreeter(Opening[Greeter]):
    greeting: str | None = "Hello"

    def open(self, report: Report) -> Greeter:
        if self.greeting is None:
            raise ValueError("no greeting")
        return Greeter(self.greeting, report)


@dataclass(frozen=True)
class Greeting:
    text: str
    calls: int
    pid: int


@dataclass(frozen=True)
class Greet(Request[Greeter, Greeting]):
    name: str

    def run(self, service: Greeter) -> Greeting:
        service.calls += 1
        return Greeting(f"{service.greeting}, {self.name}", service.calls, os.getpid())


@dataclass(frozen=True)
class Refuse(Request[Greeter, None]):
    kind: type[Exception]

    def run(self, service: Greeter) -> None:
        raise self.kind("the words\nof the fault")


REFUSALS: tuple[type[Exception], ...] = (ConfigError, Peculiar)


@dataclass(frozen=True)
class Fail(Request[Greeter, float]):
    """Ends by an exception that is no fault."""

    how: str

    def run(self, service: Greeter) -> float:
        if self.how == "strangely":
            raise Unpicklable
        if self.how == "exit":
            raise SystemExit(3)
        return 1 / 0


@dataclass(frozen=True)
class NotJson(Request[Greeter, int]):
    def run(self, service: Greeter) -> int:
        return object()  # type: ignore[return-value]


@dataclass(frozen=True)
class Surrogate(Request[Greeter, str]):
    def run(self, service: Greeter) -> str:
        return "\udcff ümlaut"


@dataclass(frozen=True)
class Variable(Request[Greeter, str | None]):
    name: str

    def run(self, service: Greeter) -> str | None:
        return os.environ.get(self.name)


@dataclass(frozen=True)
class Print(Request[Greeter, int]):
    size: int

    def run(self, service: Greeter) -> int:
        print("x" * self.size)
        sys.stderr.write("the end\n")
        sys.stdout.flush()
        subprocess.run(["echo", "from a child"], check=True)
        return self.size


@dataclass(frozen=True)
class Sleep(Request[Greeter, None]):
    seconds: float

    def run(self, service: Greeter) -> None:
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Wait(Request[Greeter, None]):
    """For longer than any test; in the phase `waiting` once the file is written."""

    pid_file: Path

    def run(self, service: Greeter) -> None:
        service.report("waiting")
        self.pid_file.write_text(f"{os.getpid()}\n")
        time.sleep(600)


@dataclass(frozen=True)
class Spin(Request[Greeter, None]):
    """An endless loop with a child beside it."""

    pid_file: Path

    def run(self, service: Greeter) -> None:
        service.report("spinning")
        self.pid_file.write_text(f"{subprocess.Popen(['sleep', '600']).pid}\n")
        while True:
            pass


@dataclass(frozen=True)
class Die(Request[Greeter, None]):
    """By a signal, or by an exit code of 7 for 0."""

    how: int

    def run(self, service: Greeter) -> None:
        service.report("dying")
        if self.how:
            os.kill(os.getpid(), self.how)
        os._exit(7)


@dataclass(frozen=True)
class DieButLeaveAFork(Request[Greeter, None]):
    """The fork holds the pipe open."""

    def run(self, service: Greeter) -> None:
        if os.fork() == 0:
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Forge(Request[Greeter, int]):
    """Writes `sent` into the pipe, as a candidate may that looks for it, and then answers 1."""

    sent: bytes
    pause_s: float = 0.0

    def run(self, service: Greeter) -> int:
        pipe = service.report.__self__.pipe  # type: ignore[attr-defined]
        os.write(pipe.fileno(), self.sent)
        time.sleep(self.pause_s)
        return 1
