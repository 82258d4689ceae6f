"""What is said while several devices search, where there is no terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from tuner.cli.devices import Devices
from tuner.cli.events import Events


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved on by a test."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def after_silence(devices: Devices, clock: list[float]) -> str:
    """The line that two seconds of silence make."""
    out = devices.console.file
    assert isinstance(out, io.StringIO)
    out.truncate(out.seek(0))
    clock[0] += 2
    devices.pulse.look()
    return out.getvalue()


def test_searches_say_in_turn_what_they_do(clock: list[float]) -> None:
    with Devices(Console(file=io.StringIO(), force_terminal=False, width=160), Events(None)) as devices:
        devices.on("cuda:0", "one").stage("timing eager")
        devices.on("cuda:1", "two").stage("compiling")
        said = [after_silence(devices, clock) for _ in range(3)]
    assert said == [
        "[cuda:0]   … 2 s: timing eager\n",
        "[cuda:1]   … 4 s: compiling\n",
        "[cuda:0]   … 6 s: timing eager\n",
    ]


def test_a_device_that_searches_no_more_is_not_told_of(clock: list[float]) -> None:
    with Devices(Console(file=io.StringIO(), force_terminal=False, width=160), Events(None)) as devices:
        devices.total(0, 1, 0, 1)
        devices.on("cuda:0", "one").stage("timing eager")
        devices.device("cuda:0", "done")
        assert after_silence(devices, clock) == "  … 2 s: 0 of 1 searches done, 1 under way\n"
