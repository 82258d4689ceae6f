"""Points to start from, out of a T4 file: another search's, or another tuner's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tuner.errors import ConfigError
from tuner.space import Choice, Point, Space

VARIANT = "variant"  # the parameter that says which
STARTS = 16  # points of a file that a search begins with


class _Measurement(BaseModel):
    name: str
    value: Any = None


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")

    configuration: dict[str, Choice]
    invalidity: str
    objectives: list[str] = ["time"]
    measurements: list[_Measurement] = []

    @property
    def value(self) -> float:
        found = next((m.value for m in self.measurements if m.name in self.objectives[:1]), None)
        return float(found) if isinstance(found, int | float) else math.inf


class _T4(BaseModel):
    model_config = ConfigDict(extra="ignore")

    results: list[_Result]


def configurations(file: Path) -> list[dict[str, Choice]]:
    """The right configurations of a T4 file, best first. Raises ConfigError for a file that is none."""
    try:
        document = _T4.model_validate_json(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise ConfigError(f"{file}: is no T4 file: {place}: {first['msg']}") from None
    right = sorted((each for each in document.results if each.invalidity == "correct"), key=lambda each: each.value)
    return [each.configuration for each in right]


def points(space: Space, known: Sequence[Mapping[str, Choice]]) -> list[Point]:
    """Configurations as valid points of a space, in order; what is no point of it is left out.

    A configuration that names no variant is one of each variant all of whose knobs it has.
    """
    found = dict[Point, None]()
    for values in known:
        for branch in space.branches:
            names = [knob.name for knob in branch.knobs]
            if values.get(VARIANT, branch.variant) == branch.variant and all(name in values for name in names):
                point = Point.of(branch.variant, {name: values[name] for name in names})
                if space.has(point) and space.rejected_by(point) is None:
                    found[point] = None
    return list(found)
