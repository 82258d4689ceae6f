"""The table of a suite: a line for each problem, and below it what they come to."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from suite_steps import LAST_PHASE, PHASES, Row

WAYS = {
    "eager": "eager",
    "eager_benchmark": "eager + benchmark",
    "compile": "compile",
    "compile_benchmark": "compile + benchmark",
    "max_autotune": "max-autotune",
}
SOON_S = 30.0  # within which a search should be near its best
PRODUCTS = ("gemm", "matmul", "bmm", "linear")  # in a name: a matrix product, no convolution
SECONDS = (*(phase for phase, _ in PHASES), LAST_PHASE, "export", "verify")


def strongest(row: Row) -> str | None:
    """The fastest of the baselines that were measured beside the kernel."""
    baselines = row.get("baselines", {})
    return min(baselines, key=lambda way: baselines[way]["ms"], default=None)


def summary(rows: Sequence[Row]) -> Row:
    """What the rows come to. Means are geometric, over what is right."""
    right = [row for row in rows if row["status"] == "right"]
    over_eager = [row["baselines"]["eager"]["speedup"] for row in right if "eager" in row["baselines"]]
    beside = [row["baselines"][way] | {"name": row["problem"]} for row in right if (way := strongest(row))]
    products = [each["speedup"] for each in beside if _is_product(each["name"])]
    near = [row["near_best_s"] for row in rows if "near_best_s" in row]
    drafting = [row["seconds"]["drafting"] for row in rows if "drafting" in row["seconds"]]
    return {
        "problems": len(rows),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "over_eager": _mean(over_eager),
        "over_strongest": _mean(each["speedup"] for each in beside),
        "matrix_products_over_strongest": _mean(products),
        "faster_than_strongest": sum(each["speedup"] > 1 for each in beside),
        "faster_beyond_the_interval": sum(each["low"] > 1 for each in beside),
        "compared": len(beside),
        "agrees": sum(row["agrees"] for row in right),
        "drafting_s": _spread(drafting),
        "near_best_s": _spread(near),
        "near_best_soon": sum(seconds <= SOON_S for seconds in near),
        "seconds": {
            phase: statistics.mean(taken)
            for phase in SECONDS
            if (taken := [row["seconds"][phase] for row in rows if phase in row["seconds"]])
        },
        "seconds_in_all": sum(sum(row["seconds"].values()) for row in rows),
    }


def _is_product(name: str) -> bool:
    return any(word in name.lower() for word in PRODUCTS)


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.geometric_mean(values) if values else None


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    return {"median": statistics.median(values), "largest": max(values)} if values else None


# ---- markdown ----------------------------------------------------------------------------------------


def markdown(rows: Sequence[Row]) -> str:
    """The table and the lines below it."""
    ways = [way for way in WAYS if any(way in row.get("baselines", {}) for row in rows)]
    cells: dict[str, Callable[[Row], str]] = {
        "problem": lambda row: row["problem"],
        "status": _status,
        "class": lambda row: row.get("class", "-"),
        "kernels": lambda row: str(row.get("kernels") or "-"),
        "left to PyTorch": lambda row: ", ".join(row.get("leaves", ())) or "-",
        "ours, ms": lambda row: _ms(row.get("ours_ms")),
        **{f"{WAYS[way]}, ms": _baseline(way) for way in ways},
        "floor, ms": lambda row: _ms(row.get("floor_ms")),
        "over eager": lambda row: _speedup(row, "eager"),
        "over the strongest": lambda row: _speedup(row, strongest(row)),
        "error ratio": lambda row: f"{row['error_ratio']:.2f}" if "error_ratio" in row else "-",
        "1e-4 holds": lambda row: {True: "yes", False: "no"}.get(row.get("agrees", ""), "-"),
    }
    lines = [f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}"]
    lines += [f"| {' | '.join(cell(row) for cell in cells.values())} |" for row in rows]
    devices = sorted({f"{row['device']}, PyTorch {row['torch']}" for row in rows if "device" in row})
    return "\n".join([*devices, "", *lines, "", *_below(summary(rows))]) + "\n"


def _status(row: Row) -> str:
    reason = " ".join(row["reason"].split()).replace("|", "\\|")
    return f"{row['status']}: {reason[:160]}" if reason else row["status"]


def _baseline(way: str) -> Callable[[Row], str]:
    return lambda row: _ms(row.get("baselines", {}).get(way, {}).get("ms"))


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _speedup(row: Row, way: str | None) -> str:
    found = row.get("baselines", {}).get(way)
    return f"{found['speedup']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" if found else "-"


def _below(found: Row) -> list[str]:
    statuses = ", ".join(f"{count} {status}" for status, count in found["statuses"].items())
    lines = [f"- {found['problems']} problems: {statuses}; within KernelBench's 1e-4 of eager: {found['agrees']}"]
    if found["over_eager"]:
        lines.append(f"- over eager, geometric mean: {found['over_eager']:.3f}")
    if found["over_strongest"]:
        share = found["faster_than_strongest"] / found["compared"]
        lines.append(
            f"- over the strongest, geometric mean: {found['over_strongest']:.3f}; faster than it: "
            f"{found['faster_than_strongest']} of {found['compared']} ({share:.0%}), "
            f"{found['faster_beyond_the_interval']} of them beyond the interval"
        )
    if found["matrix_products_over_strongest"]:
        lines.append(f"- matrix products over the strongest: {found['matrix_products_over_strongest']:.3f}")
    if found["drafting_s"]:
        lines.append(f"- drafting: {_seconds(found['drafting_s'])}")
    if found["near_best_s"]:
        lines.append(
            f"- search until within 5 % of its own best: {_seconds(found['near_best_s'])}; "
            f"within {SOON_S:g} s: {found['near_best_soon']}"
        )
    if found["seconds"]:
        taken = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in found["seconds"].items())
        lines.append(f"- seconds a problem, mean: {taken}")
        lines.append(f"- all problems, one after the other: {found['seconds_in_all'] / 60:.1f} minutes")
    return lines


def _seconds(spread: dict[str, float]) -> str:
    return f"{spread['median']:.1f} s in the median, {spread['largest']:.1f} s at most"


def write(output: Path, rows: Sequence[Row]) -> None:
    """The table as OUTPUT.md and OUTPUT.json."""
    Path(f"{output}.md").write_text(markdown(rows))
    found = {"summary": summary(rows), "rows": list(rows)}
    Path(f"{output}.json").write_text(json.dumps(found, indent=1) + "\n")
