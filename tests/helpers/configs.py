"""Configs as tests write them, and the line that a wrong one gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner import settings
from tuner.errors import ConfigError

WriteConfig = Callable[[str | bytes], Path]  # the fixture `config`


CONFIGS = Path(__file__).parents[2] / "configs"


def fault(path: Path, **overrides: str) -> str:
    """The line that a config is refused with."""
    with pytest.raises(ConfigError) as caught:
        settings.load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines_of_fault(path: Path) -> int:
    """How many lines the fault of a config takes, 0 for a good one; another exception is a bug."""
    try:
        settings.load(path)
    except ConfigError as error:
        return len(str(error).splitlines())
    return 0
