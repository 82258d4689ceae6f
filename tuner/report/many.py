"""Many searches, or a suite's table, at one look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.records import Status
from tuner.report.course import lines
from tuner.report.figure import COLOURS, GREY, Figure, Html, Section, Trace, axis, table
from tuner.report.verdict import shapes
from tuner.results import Searched

Row = Mapping[str, Any]
Speedup = tuple[str, float, float, float]  # of whom; how much, and its interval


def overview(searches: Sequence[Searched], anchors: Sequence[str]) -> list[Section]:
    """A table that sorts, speed-ups, and how trials ended."""
    rows: list[list[object]] = []
    points: dict[str, list[Speedup]] = {}
    for searched, anchor in zip(searches, anchors, strict=True):
        best, record = searched.best, searched.record
        time = record.latency_ms if record else best.evaluation.latency_ms if best else None
        label = f"{searched.template} {shapes(searched.workload)} {record.workload.precision if record else ''}".strip()
        for baseline in record.baselines if record else ():
            found = (label, baseline.speedup, baseline.speedup_low, baseline.speedup_high)
            points.setdefault(baseline.name, []).append(found)
        against = {name: value / time for name, value in lines(searched) if name != "floor" and time}
        floor = searched.floor.floor_ms / time if searched.floor and time else None
        others = [value for name, value in against.items() if name != "eager"]
        rows.append(
            [
                Html(f'<a href="#{anchor}">{searched.template}</a>'),
                shapes(searched.workload),
                searched.workload.precision if searched.workload else "",
                searched.environment.device_name if searched.environment else "",
                "confirmed" if record and record.confirmed else "no final",
                time,
                against.get("eager"),
                min(others) if others else None,
                None if floor is None else round(100 * floor, 1),
                len(searched.trials) or (sum(_measured(record.trials)) if record else 0),
            ]
        )
    headers = ["template", "shape", "class", "device", "state", "time, ms", "over eager", "over the strongest other",
               "of the floor, %", "trials"]  # fmt: skip
    sections = [Section("Overview", "Click a heading to sort.", table(headers, rows, sortable=True))]
    if points:
        sections.append(_speedups(points))
    failures = _failures(searches)
    return sections + ([failures] if failures else [])


def _measured(counts: Mapping[str, int]) -> list[int]:
    return [n for name, n in counts.items() if not name.startswith("rejected")]


def _speedups(points: Mapping[str, Sequence[Speedup]]) -> Section:
    traces: list[Trace] = []
    labels = list(dict.fromkeys(label for found in points.values() for label, *_ in found))
    for i, (way, found) in enumerate(points.items()):
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": f"over {way}", "y": [label for label, *_ in found],
                "x": [speedup for _, speedup, _, _ in found],
                "error_x": {
                    "type": "data", "symmetric": False, "color": COLOURS[i % 8], "thickness": 1,
                    "array": [high - speedup for _, speedup, _, high in found],
                    "arrayminus": [speedup - low for _, speedup, low, _ in found],
                },
                "marker": {"color": COLOURS[i % 8], "size": 8},
            }
        )  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "as fast", "x": [1, 1], "y": [labels[0], labels[-1]],
            "line": {"color": GREY, "dash": "dash"},
        }
    )  # fmt: skip
    layout = {
        "xaxis": axis("speed-up (ratio, log)", type="log"),
        "yaxis": axis("problem", autorange="reversed", tickfont={"size": 10}, dtick=1),
    }
    figure = Figure("Everything right of the dashed line is faster.", traces, layout, 160 + 24 * len(labels))
    return Section("Speed-ups", "Over each baseline, with 95 % intervals of paired ratios.", figures=[figure])


def _failures(searches: Sequence[Searched]) -> Section | None:
    names, counts = list[str](), list[Counter[str]]()
    for searched in searches:
        if searched.trials:
            found = Counter(t.evaluation.status.value for t in searched.trials)
        elif searched.record:
            found = Counter({k: n for k, n in searched.record.trials.items() if not k.startswith("rejected")})
        else:
            continue
        names.append(f"{searched.template} {shapes(searched.workload)} {searched.name[-8:]}")
        counts.append(found)
    statuses = [status.value for status in Status if any(found[status.value] for found in counts)]
    if not statuses:
        return None
    traces = _stacked(names, statuses, counts)
    layout = _stack_layout("trials (count)", "search")
    figure = Figure("Trials of each search by how they ended.", traces, layout, 160 + 24 * len(names))
    return Section("Failures by phase", "Where candidates were lost.", figures=[figure])


def _stacked(names: Sequence[str], kinds: Sequence[str], counts: Sequence[Mapping[str, float]]) -> list[Trace]:
    return [
        {
            "type": "bar", "orientation": "h", "name": kind, "y": list(names), "x": [f.get(kind, 0) for f in counts],
            "marker": {"color": COLOURS[(2 if kind in ("ok", "right") else 5 + i) % 8]},
        }
        for i, kind in enumerate(kinds)
    ]  # fmt: skip


def _stack_layout(title: str, each: str) -> dict[str, Any]:
    y = axis(each, autorange="reversed", tickfont={"size": 10}, dtick=1)
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    return {"barmode": "stack", "xaxis": axis(title), "yaxis": y, "legend": legend}


# ---- a suite's table ---------------------------------------------------------------------------------


def suite(rows: Sequence[Row]) -> list[Section]:
    """Sections for the rows that a suite's run wrote."""
    points: dict[str, list[Speedup]] = {}
    for row in rows:
        for way, beside in row.get("baselines", {}).items():
            points.setdefault(way, []).append((row["problem"], beside["speedup"], beside["low"], beside["high"]))
    body = table(
        ["problem", "status", "class", "time, ms", "over eager", "over the strongest", "floor, ms", "error ratio",
         "seconds", "why"],
        [_suite_row(row) for row in rows], sortable=True,
    )  # fmt: skip
    sections = [Section("Suite", f"{len(rows)} problems. Click a heading to sort.", body)]
    if points:
        sections.append(_speedups(points))
    sections.append(_statuses(rows))
    seconds = [(row["problem"], row["seconds"]) for row in rows if row.get("seconds")]
    if seconds:
        phases = list(dict.fromkeys(phase for _, taken in seconds for phase in taken))
        traces = [
            {**trace, "marker": {"color": COLOURS[i % 8]}}
            for i, trace in enumerate(_stacked([name for name, _ in seconds], phases, [taken for _, taken in seconds]))
        ]
        layout = _stack_layout("seconds (s)", "problem")
        figure = Figure("Seconds of each problem by phase.", traces, layout, 180 + 20 * len(seconds))
        sections.append(Section("Where the time went", "From drafting to verification.", figures=[figure]))
    return sections


def _suite_row(row: Row) -> list[object]:
    baselines = row.get("baselines", {})
    strongest = min(baselines.values(), key=lambda each: each["ms"], default=None)
    return [
        row["problem"], row["status"], row.get("class"), row.get("ours_ms"), baselines.get("eager", {}).get("speedup"),
        strongest and strongest["speedup"], row.get("floor_ms"), row.get("error_ratio"),
        round(sum(row.get("seconds", {}).values()), 1), " ".join(str(row.get("reason", "")).split())[:160],
    ]  # fmt: skip


def _statuses(rows: Sequence[Row]) -> Section:
    counts = Counter(row["status"] for row in rows)
    trace = {
        "type": "bar", "orientation": "h", "name": "problems", "y": list(counts), "x": list(counts.values()),
        "marker": {"color": [COLOURS[2] if status == "right" else COLOURS[5] for status in counts]},
        "text": list(counts.values()), "textposition": "auto",
    }  # fmt: skip
    layout = {
        "xaxis": axis("problems (count)"),
        "yaxis": axis("how it ended", autorange="reversed"),
        "showlegend": False,
    }
    figure = Figure("Problems by the phase that ended them.", [trace], layout, 120 + 30 * len(counts))
    return Section("Failures by phase", "What is not right, and where it ended.", figures=[figure])
