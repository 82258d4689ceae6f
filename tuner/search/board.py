"""Who is told what the devices of a host do; the command line shows it. Called from every device's thread."""

from __future__ import annotations

from typing import Protocol

from tuner.search.observer import Observer


class Board(Protocol):
    def on(self, device: str, search: str) -> Observer:
        """Who is told of a search that begins on a device."""

    def device(self, device: str, text: str) -> None:
        """What a device does now, or why it does nothing."""

    def note(self, device: str, text: str) -> None:
        """What went wrong on a device, or what a reader of its times should know."""

    def total(self, done: int, under_way: int, waiting: int, total: int) -> None:
        """How many searches there are, and how many of them wait for a device."""
