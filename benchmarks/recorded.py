"""Search spaces that were measured exhaustively, read from files, as spaces and times.

Formats: CSV (a column a knob, the last one `time_ms`, empty where the point failed), Kernel Tuner's cache files and T4
results (both JSON); each may be compressed (.gz).
"""

from __future__ import annotations

import csv
import functools
import gzip
import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.space import Branch, Choice, Constraint, Facts, Knob, Point, Space

Row = tuple[list[Any], float]  # values of the knobs, time in ms (infinite where the point failed)


@dataclass(frozen=True)
class Recorded:
    """A recorded space. Points that were not recorded are refused by its constraint."""

    name: str
    space: Space
    times: dict[Point, float]  # ms, infinite where the point failed

    @functools.cached_property
    def best_ms(self) -> float:
        return min(self.times.values())


def read(path: Path, categories: Collection[str] = (), split: Collection[str] = ()) -> Recorded:
    """The space in a file.

    Integers are ordered knobs but for those named in `categories`; knobs named in `split` become variants, one for
    each combination of their choices. Raises ValueError for a file of none of the formats.
    """
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    name = path.name.removesuffix(".gz")
    names, rows = _csv(text) if name.endswith(".csv") else _json(path, json.loads(text))
    columns = [_column(n, [values[i] for values, _ in rows], n in categories) for i, n in enumerate(names)]
    apart = [i for i, n in enumerate(names) if n in split]
    kept = [i for i in range(len(names)) if i not in apart]
    times: dict[Point, float] = {}
    for at, (_, time_ms) in enumerate(rows):
        variant = "_".join(["v", *(str(columns[i][at]) for i in apart)])
        times[Point(variant, tuple((_knob_name(names[i]), columns[i][at]) for i in kept))] = time_ms

    branches = []
    for variant in dict.fromkeys(point.variant for point in times):
        points = [point for point in times if point.variant == variant]
        recorded = frozenset(tuple(value for _, value in point.values) for point in points)
        knobs = tuple(_knob(_knob_name(names[i]), [point.values[k][1] for point in points]) for k, i in enumerate(kept))
        branches.append(Branch(variant, knobs, (_membership(recorded),)))
    return Recorded(name.rpartition(".")[0], Space(tuple(branches), Facts()), times)


def _membership(recorded: Collection[tuple[Choice, ...]]) -> Constraint:
    return Constraint("recorded", lambda k, f: tuple(vars(k).values()) in recorded)


def _csv(text: str) -> tuple[list[str], list[Row]]:
    header, *lines = csv.reader(text.splitlines())
    return header[:-1], [([_plain(v) for v in line[:-1]], float(line[-1]) if line[-1] else math.inf) for line in lines]


def _json(path: Path, data: Any) -> tuple[list[str], list[Row]]:
    if "cache" in data:  # Kernel Tuner
        names, objective = data["tune_params_keys"], data.get("objective") or "time"
        rows = [([e[n] for n in names], _time(e.get(objective))) for e in data["cache"].values()]
        return names, [row for row, e in zip(rows, data["cache"].values(), strict=True) if not _is_invalid(e)]
    if "results" in data:  # T4
        names = list(data["results"][0]["configuration"])
        found: list[Row] = []
        for result in data["results"]:
            objective = (result.get("objectives") or ["time"])[0]
            measured = {m["name"]: m["value"] for m in result["measurements"]}
            ok = result.get("invalidity", "correct") == "correct"
            if result.get("invalidity") != "constraints":
                found.append(
                    ([result["configuration"][n] for n in names], _time(measured.get(objective)) if ok else math.inf)
                )
        return names, found
    raise ValueError(f"{path}: neither a cache file of Kernel Tuner nor T4 results")


def _time(value: object) -> float:
    """A measured time; failures are words, lists of nothing or huge numbers."""
    if isinstance(value, int | float) and 0 < value < 1e20:
        return float(value)
    return math.inf


def _is_invalid(entry: dict[str, Any]) -> bool:
    """Whether Kernel Tuner's restrictions had refused the point, so that it cost nothing."""
    return "InvalidConfig" in map(str, entry.values())


def _plain(text: str) -> int | float | str:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def _column(name: str, values: Sequence[Any], category: bool) -> list[Choice]:
    """Values as choices of a knob: 0 and 1 are booleans, words and categories get plain names, the rest counts."""
    distinct = set(values)
    if distinct <= {0, 1}:
        return [bool(value) for value in values]
    if category or any(isinstance(value, str) for value in distinct):
        rank = {value: f"c{i}" for i, value in enumerate(sorted(distinct, key=str))}
        return [rank[value] for value in values]
    if all(float(value).is_integer() for value in distinct):
        return [int(value) for value in values]
    order = {value: i for i, value in enumerate(sorted(distinct))}
    return [order[value] for value in values]


def _knob_name(name: str) -> str:
    return "k_" + re.sub(r"[^a-z0-9_]", "_", name.lower())


def _knob(name: str, values: Sequence[Choice]) -> Knob:
    choices = tuple(sorted(set(values)))
    return Knob(name, choices, choices[(len(choices) - 1) // 2])
