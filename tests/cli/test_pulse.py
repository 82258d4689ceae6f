"""What is said while the same thing goes on."""

from __future__ import annotations

import threading
import time

import pytest

from tuner.cli.pulse import SILENCE_S, Pulse


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
