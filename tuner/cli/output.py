"""How commands say things: a line for a person, JSON for a program, a fault on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True)


def say(as_json: bool) -> Callable[[str], None]:
    """What prints progress: on stderr where stdout is for JSON."""
    return partial(click.echo, err=as_json)


def print_json(value: Any) -> None:
    """What `--json` asks for, on stdout."""
    click.echo(json.dumps(value, indent=2))


def complain(text: str) -> None:
    """A fault as one line on stderr."""
    click.echo(f"tuner: {' '.join(text.split())}", err=True)
