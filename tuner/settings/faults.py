"""What pydantic found wrong with a config, as one line that says what would be right."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuner.settings.model import Settings

LIMITS = ("too_large", "less_than_equal")  # what a value may be at most


def line(error: ValidationError, values: dict[str, Any], path: Path, given_by: dict[str, str]) -> str:
    """pydantic's complaints in one line, the first of each key: where, what would be right, what was found."""
    by_key: dict[str, list[Any]] = {}
    for each in error.errors(include_url=False):
        by_key.setdefault(str(each["loc"][0]), []).append(each)
    # Of a shape the union's first member complains first, whichever was meant; a limit tells more.
    told = (next((each for each in found if each["type"] in LIMITS), found[0]) for found in by_key.values())
    return "; ".join(_said(each, values, path, given_by) for each in told)


def _said(fault: Any, values: dict[str, Any], path: Path, given_by: dict[str, str]) -> str:
    key = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"{path}: {unknown_key(key)}"
    if fault["type"] == "missing":
        return f"{path}: {key}: is missing; it wants at least `template: NAME`"
    # The location also names members of a union; only what leads into the value is of use.
    found: Any = values[key]
    steps: list[str] = []
    for step in fault["loc"][1:]:
        inside: Any = found if isinstance(found, dict) else range(len(found)) if isinstance(found, list | tuple) else ()
        if step in inside:
            found = found[step]
            steps.append(str(step))
    wants = re.sub(r"^.*?\bshould ", "", fault["msg"])
    wants = wants.replace("valid tuple", "list").replace("valid dictionary", "mapping")
    if fault["type"] == "too_short":
        wants = f"be a list of at least one {key.rstrip('s')}"
    if key == "device":
        wants = "be auto, cuda, cuda:N, cpu or cpu:A-B"
    elif key == "devices":
        wants = "be all, or a list such as cuda:0,cuda:1 or cpu:0-3,cpu:4-7"
    elif key == "shapes" and fault["type"] not in LIMITS:
        wants = "be a list of shapes: each a list of sizes of at least 1, or one such list for each input"
    elif key == "knobs" and steps:
        wants = "be a list of integers, booleans or words to choose from" if len(steps) == 1 else "be int, bool or word"
    where = ".".join([given_by[key], *steps])
    return f"{where}: should {wants}, not {shown(found)}"


def unknown_key(key: str) -> str:
    """What to say of a key that no config has: the nearest one, or all of them."""
    names = list(Settings.model_fields)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(names)}"
    return f"unknown key {key[:60]!r}; {hint}"


def kind(value: Any) -> str:
    """A value that should have been a mapping, as a fault shows it."""
    return "a list" if isinstance(value, list) else shown(value)


def shown(value: Any) -> str:
    """A value as a fault shows it: 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
