"""What values that a caller gives have to be: a wrong one is one line that names its parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError


def require(is_right: bool, name: str, wanted: str, given: object) -> None:
    """Raise ConfigError unless `is_right`."""
    if not is_right:
        raise ConfigError(f"{name}: wants {wanted}, not {' '.join(repr(given).split()):.80}")


def path(name: str, given: Any) -> Path:
    require(isinstance(given, str | Path), name, "a path", given)
    return Path(given)


def function(name: str, given: Any) -> None:
    require(callable(given), name, "a lambda or a function", given)


def values(name: str, given: Any, wanted: str = "a list of values") -> None:
    """A text is none: it would be taken apart."""
    require(isinstance(given, Sequence) and not isinstance(given, str | bytes), name, wanted, given)


def named(name: str, given: Any, wanted: str) -> None:
    require(isinstance(given, Mapping) and all(isinstance(key, str) for key in given), name, wanted, given)


def shapes(name: str, given: Any) -> tuple[tuple[int, ...], ...]:
    """One for each input, of sizes."""
    wanted = "a shape for each input, such as [[16, 64]]"
    values(name, given, wanted)
    for shape in given:
        values(name, shape, wanted)
        require(all(type(size) is int and size >= 0 for size in shape), name, wanted, given)
    return tuple(map(tuple, given))


def positive(name: str, given: Any) -> None:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    require(is_number and math.isfinite(given) and given > 0, name, "a positive number", given)
