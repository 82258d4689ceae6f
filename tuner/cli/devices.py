"""What a person sees while several devices search: a line a device, and a total."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuner.cli.configs import Given, WrongConfigs
from tuner.cli.events import Events
from tuner.errors import TunerError
from tuner.screen.pulse import Pulse, lasting
from tuner.screen.screen import Screen
from tuner.search.host import Host
from tuner.search.observer import Observer
from tuner.search.outcomes import Done
from tuner.search.tune import Asked, Outcome, asked
from tuner.settings import Settings, cache_root, resolve


class Devices:
    """Implements `search.Board`: live lines on a terminal, plain ones elsewhere, each with its device ahead."""

    def __init__(self, console: Console, events: Events) -> None:
        self.console, self.events = console, events
        self.lock = threading.RLock()
        self.lines: dict[str, str] = {}
        self.total_line = ""
        self.live: Live | None = None
        # Those under way, each with its device and name; who is first was silent for longest.
        self.searches: dict[tuple[str, str], Screen] = {}
        self.pulse = Pulse(self._still)

    def __enter__(self) -> Devices:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        self.pulse.begin("starting")
        self.pulse.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.pulse.stop()
        if self.live is not None:
            self.live.stop()

    def on(self, device: str, search: str) -> Observer:
        shown = _OneDevice(self, device, search)
        with self.lock:
            self.searches[device, search] = shown
        return self.events.beside(device, search, shown)

    def _still(self, doing: str, seconds: float) -> None:
        """There was silence: one of the searches says what it does, on a terminal all; else the total is said again."""
        with self.lock:
            under_way = [(which, search) for which, search in self.searches.items() if search.pulse.doing]
            speak = [search for _, search in under_way[: None if self.live else 1]]
            for which, search in under_way[:1]:
                del self.searches[which]
                self.searches[which] = search  # the last now
            if not speak and self.live is None:
                self.line("", lasting(self.total_line or doing, seconds))
        for search in speak:
            search.pulse.speak()

    def _ended(self, device: str) -> None:
        """It searches nothing of its own any more."""
        with self.lock:
            self.searches = {which: search for which, search in self.searches.items() if which[0] != device}

    def device(self, device: str, text: str) -> None:
        """A device that does anything but a search of its own."""
        self._ended(device)
        self.events.say("device", device=device, text=text)
        self.show(device, text)

    def note(self, device: str, text: str) -> None:
        self._ended(device)
        self.events.say("note", device=device, text=text)
        self.line(device, text)

    def total(self, done: int, under_way: int, waiting: int, total: int) -> None:
        self.events.say("total", done=done, under_way=under_way, waiting=waiting, total=total)
        text = f"{done} of {total} searches done, {under_way} under way"
        text += f", {waiting} waiting for a device" if waiting else ""
        with self.lock:
            if self.live is None and text != self.total_line:
                self.line("", text)
            self.total_line = text
            self._draw()

    def show(self, device: str, text: str) -> None:
        """What a device does now."""
        with self.lock:
            if self.live is None and self.lines.get(device) != text:
                self.line(device, text)
            self.lines[device] = text
            self._draw()

    def line(self, device: str, text: str) -> None:
        """A line that stays."""
        with self.lock:
            self.console.print(Text(f"[{device}] {text}" if device else text), soft_wrap=True)
            self.pulse.heard()

    def _draw(self) -> None:
        if self.live is not None:
            rows = [f"[{device}] {text}" for device, text in self.lines.items()]
            self.live.update(Text("\n".join([*rows, self.total_line]), overflow="ellipsis", no_wrap=True))

    def outcome(self, one: Asked, device: str, outcome: Outcome) -> None:
        """The table of one finished search."""
        self.events.outcome(device, one.settings.template, outcome)
        with self.lock:
            self.searches.pop((device, one.settings.template), None)
            _OneDevice(self, device, one.settings.template).outcome(outcome)


class _OneDevice(Screen):
    """The screen of one search, which has one line of several."""

    def __init__(self, devices: Devices, device: str, search: str) -> None:
        super().__init__(devices.console, search)
        self.devices, self.device = devices, device

    @property
    def is_live(self) -> bool:
        return self.devices.live is not None

    def _line(self, text: str) -> None:
        self.devices.line(self.device, text)

    def _show(self, text: str) -> None:
        self.devices.show(self.device, text.replace("\n  ", "  "))


def searched(
    loaded: Sequence[tuple[Given, Settings]],
    console: Console,
    events: Events,
    tell: Callable[[str], None],
    fresh: bool,
    replace_faster: bool,
) -> Iterator[tuple[Given, Outcome]]:
    """Every search of the configs on the devices that they name, each with its config, as each is done.

    Faults are said as they come; at the end they are raised, after all that can be searched was. What was
    interrupted has the outcomes of the searches that were under way.
    """
    wanted, given_as = [], {}
    for given, one in loaded:
        for line in given.plan:
            tell(line)
        devices = resolve.devices(one)
        kernel = resolve.checked_template(one)
        for each in asked(one, kernel, cache_root(given.config, one.template), devices):
            wanted.append((each, devices))
            given_as[id(each)] = given
    began = time.monotonic()
    with Devices(console, events) as view:
        host = Host(wanted, view, fresh, replace_faster)
        yield from told(host, view, given_as)
        view.note("", f"all searches took {time.monotonic() - began:.0f} s on {len(host.cards)} devices")


class Searching(Protocol):
    """Several searches, as they are done."""

    interrupted: bool

    def outcomes(self) -> Generator[Done, None, None]: ...


def told(searches: Searching, view: Devices, given_as: Mapping[int, Given]) -> Iterator[tuple[Given, Outcome]]:
    """What came of each, shown, with the config that `given_as` has for the id of what was asked.

    At the end raises KeyboardInterrupt when they were interrupted, WrongConfigs with the faults that were said.
    """
    faults: list[TunerError] = []
    with closing(searches.outcomes()) as outcomes:
        for done in outcomes:
            if done.outcome is not None:
                view.outcome(done.asked, done.device, done.outcome)
                yield given_as[id(done.asked)], done.outcome
            elif done.fault is not None:
                given_as[id(done.asked)].name_in(done.fault)
                view.note(done.device, f"{done.asked.settings.template}: {done.fault}")
                faults.append(done.fault)
    if searches.interrupted:
        raise KeyboardInterrupt
    if faults:
        raise WrongConfigs(faults)
