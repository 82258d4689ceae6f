"""tuner doctor."""

from __future__ import annotations

from dataclasses import asdict

import click

from tuner.cli.output import json_option, print_json


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what works on this machine: compilers, PyTorch, GPU, driver."""
    from tuner.backends.doctor import checks
    from tuner.screen import tables

    found = checks()
    if as_json:
        print_json([asdict(check) for check in found])
        return
    rows = [["ok" if c.ok else "no", c.name, c.detail, c.needed_for] for c in found]
    tables.console().print(tables.listing(["", "what", "found", "needed for"], rows))
