"""What is said while the same thing goes on."""

from __future__ import annotations

import threading
import time

import pytest

from tuner.screen.pulse import QUIET_S, Pulse, going_on, telling


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved on by a test."""
    at = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence of a moment is enough."""
    monkeypatch.setattr("tuner.screen.pulse.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("tuner.screen.pulse.QUIET_S", 0.05)


def test_what_goes_on_is_said_with_its_seconds_until_something_else_begins(now: list[float]) -> None:
    said: list[tuple[str, float]] = []
    pulse = Pulse(lambda doing, seconds: said.append((doing, seconds)))
    pulse.heard()
    pulse.begin("one")
    for at in (QUIET_S / 2, QUIET_S):
        now[0] = at
        pulse.look()
    pulse.begin("two")
    pulse.look()
    assert said == [("one", QUIET_S), ("two", 0)]


def test_it_is_silent_after_anything_was_heard(now: list[float]) -> None:
    said: list[str] = []
    one, other = Pulse(lambda doing, seconds: said.append(doing)), Pulse(lambda doing, seconds: None)
    one.begin("one")
    now[0] = 10
    other.heard()
    one.look()
    now[0] += QUIET_S
    one.look()
    assert said == ["one"]


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


def wait_for(said: list[str], lines: int) -> None:
    deadline = time.monotonic() + 10
    while len(said) < lines and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_line_that_begins_something_is_followed_by_how_long_that_lasts(quick: None) -> None:
    said: list[str] = []
    with telling(said.append) as begin:
        begin("compiling")
        wait_for(said, 2)
    assert said[:2] == ["compiling", "  … 0 s: compiling"]


def test_the_innermost_that_does_something_speaks(quick: None) -> None:
    outer: list[str] = []
    inner: list[str] = []
    with going_on("a command", outer.append), telling(inner.append) as begin:
        begin("a part")
        wait_for(inner, 3)
        assert not outer
        begin("")
        wait_for(outer, 1)
    assert outer[0] == "  … 0 s: a command"


def test_a_reader_that_went_away_ends_it_quietly(quick: None) -> None:
    seen: list[str] = []

    def say(line: str) -> None:
        seen.append(line)
        raise BrokenPipeError

    with going_on("a command", say):
        wait_for(seen, 1)
        time.sleep(0.05)
    assert len(seen) == 1
