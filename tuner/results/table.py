"""Trials as a table: a row a trial, a column a knob."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError
from tuner.records import Trial
from tuner.results.searched import Searched

PHASES = ("compile", "wait", "load", "verify", "benchmark")
Row = dict[str, Any]


def rows(searches: Sequence[Searched]) -> list[Row]:
    """A row for each trial, all with the same columns; None where a trial has no such value.

    Times of the kernel are in ms, phases in s, sizes in bytes; knobs are `knobs.NAME`.
    """
    found = [_row(searched, trial) for searched in searches for trial in searched.trials]
    columns = dict.fromkeys(name for row in found for name in row)
    return [{name: row.get(name) for name in columns} for row in found]


def _row(searched: Searched, trial: Trial) -> Row:
    evaluation, workload, environment = trial.evaluation, searched.workload, searched.environment
    performance, correctness, resources = evaluation.performance, evaluation.correctness, evaluation.resources
    return {
        "search": searched.name,
        "template": searched.template,
        "shapes": ", ".join("x".join(map(str, shape)) for shape in workload.shapes) if workload else None,
        "dtype": workload.dtype_names if workload else None,
        "precision": workload.precision if workload else None,
        "device": environment.device_name if environment else None,
        "trial": trial.number,
        "finished": trial.finished,
        "variant": trial.point.variant,
        "status": evaluation.status.value,
        "detail": evaluation.detail,
        "latency_ms": performance and performance.latency_ms,
        "q25_ms": performance and performance.q25_ms,
        "q75_ms": performance and performance.q75_ms,
        "samples": performance and performance.samples,
        "error_ratio": correctness and correctness.error_ratio,
        **seconds(trial),
        "registers": resources and resources.registers,
        "shared_memory_bytes": resources and resources.shared_memory_bytes,
        "spill_bytes": resources and resources.spill_bytes,
        "candidate_sha256": trial.candidate_sha256,
        **{f"knobs.{name}": value for name, value in trial.point.values},
    }


def seconds(trial: Trial) -> dict[str, float]:
    """How long a trial was in each phase, s."""
    spans = trial.evaluation.spans
    return {f"{phase}_s": sum(span.seconds for span in spans if span.phase == phase) for phase in PHASES}


def as_csv(table: Sequence[Row]) -> str:
    """With a line of names; an empty cell for None."""
    text = io.StringIO()
    if table:
        writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return text.getvalue()


def write_parquet(table: Sequence[Row], file: Path) -> None:
    """A knob whose values are of several types among the variants becomes text. Raises ConfigError without pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigError("--parquet needs pyarrow: pip install 'tuner[report]'") from None
    columns = {name: _alike([row[name] for row in table]) for name in (table[0] if table else ())}
    parquet.write_table(arrow.table(columns), file)


def _alike(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return values
    return [None if value is None else str(value) for value in values]
