"""The command line."""

from tuner.cli.commands import cli, main

__all__ = ["cli", "main"]
