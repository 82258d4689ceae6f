"""What is said while the same thing goes on."""

from __future__ import annotations

import threading
import time

import pytest

from tuner.screen.pulse import SILENCE_S, Pulse, telling


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved on by a test."""
    at = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


def test_what_goes_on_is_said_with_its_seconds_until_something_else_begins(now: list[float]) -> None:
    said: list[tuple[str, float]] = []
    pulse = Pulse(lambda doing, seconds: said.append((doing, seconds)))
    pulse.begin("one")
    for at in (SILENCE_S - 1, SILENCE_S, SILENCE_S + 3):
        now[0] = at
        pulse.look()
    pulse.begin("two")
    pulse.look()
    assert said == [("one", SILENCE_S), ("one", SILENCE_S + 3)]


def test_nothing_is_said_of_nothing(now: list[float]) -> None:
    said: list[str] = []
    pulse = Pulse(lambda doing, seconds: said.append(doing))
    now[0] = 100
    pulse.look()
    assert said == []


def test_its_thread_ends_with_it() -> None:
    pulse = Pulse(lambda doing, seconds: None)
    pulse.start()
    assert any(thread.name == "pulse" for thread in threading.enumerate())
    pulse.stop()
    assert not any(thread.name == "pulse" for thread in threading.enumerate())


def test_a_line_that_begins_something_is_followed_by_how_long_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.screen.pulse.EVERY_S", 0.01)
    monkeypatch.setattr("tuner.screen.pulse.SILENCE_S", 0.05)
    said: list[str] = []
    with telling(said.append) as begin:
        begin("compiling")
        deadline = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said[:2] == ["compiling", "  … 0 s"]
