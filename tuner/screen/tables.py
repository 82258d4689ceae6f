"""Tables for a terminal, and for a file as wide as they need."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.records import Correctness, Floor, Performance, Record, Workload


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich would exit with 1; a reader that has seen enough is no fault


def console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    made = _Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else _Console(stderr=stderr, highlight=False, width=160)


def shapes(workload: Workload) -> str:
    """Such as 128x3x24x32x32; several inputs are separated by commas."""
    return ", ".join("x".join(map(str, shape)) for shape in workload.shapes)


def table(record: Record) -> Table:
    """Winner, runner-up, baselines and the floor; speed-up is of the winner over the row."""
    rows = Table(box=None, pad_edge=False)
    for name in ("", "median ms", "quartiles", "samples", "winner is faster by", "95 % interval"):
        rows.add_column(name, justify="left" if not name else "right", no_wrap=True)
    performance = record.evaluation.performance
    assert performance is not None
    rows.add_row("winner", *_timing(performance), "", "")
    others = [("runner-up", record.runner_up)] if record.runner_up else []
    for label, comparison in [*others, *((c.name, c) for c in record.baselines)]:
        interval = f"{comparison.speedup_low:.3f} to {comparison.speedup_high:.3f}"
        rows.add_row(label, *_timing(comparison.performance), f"{comparison.speedup:.3f}x", interval)
    if record.floor is not None and record.floor.floor_ms > 0:  # 0: all of it fits the caches
        share = record.floor.floor_ms / performance.latency_ms
        rows.add_row(
            "floor", _ms(record.floor.floor_ms), "", "", f"({share:.0%} of the winner's time)", _bound(record.floor)
        )
    return rows


def listing(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table without lines, for lists."""
    made = Table(box=None, pad_edge=False)
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def cases(correctness: Correctness) -> Table:
    """Verification case by case."""
    rows = [
        ["ok" if c.ok else "WRONG", c.name, _number(c.error), _number(c.allowed), _number(c.reference_error), c.detail]
        for c in correctness.cases
    ]
    return listing(["", "case", "error", "allowed", "reference's own", ""], rows)


def _bound(floor: Floor) -> str:
    return "memory" if floor.memory_ms >= floor.compute_ms else "arithmetic"


def _timing(performance: Performance) -> tuple[str, str, str]:
    quartiles = f"{_ms(performance.q25_ms)} to {_ms(performance.q75_ms)}"
    return _ms(performance.latency_ms), quartiles, str(performance.samples)


def _ms(value: float) -> str:
    return f"{value:.4g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
