"""The verdict on a search, its cases and its kernel: what is read rather than looked at."""

from __future__ import annotations

from html import escape

from tuner.records import Comparison, Correctness, Record, Workload
from tuner.report.figure import COLOURS, GREY, Figure, Section, axis, ms, table
from tuner.results import Searched


def shapes(workload: Workload | None) -> str:
    """The inputs' shapes as text."""
    return ", ".join("x".join(map(str, shape)) for shape in workload.shapes) if workload else "unknown shapes"


def verdict(searched: Searched) -> Section:
    """What came of it, in words and figures."""
    record, body = searched.record, []
    if record is None:
        body.append(_unfinished(searched))
    else:
        body += [_sentence(record), _contest(record)]
        if not record.confirmed:
            body.insert(0, "<p><b>Unconfirmed</b>: the search was interrupted before its final.</p>")
    body.append(_where(searched))
    return Section("Verdict", "What was found, how sure it is, and what it stands beside.", "".join(body))


def _sentence(record: Record) -> str:
    performance, correctness = record.evaluation.performance, record.evaluation.correctness
    assert performance is not None and correctness is not None, "a stored record is ok"
    parts = [
        f"The winner takes <b>{ms(performance.latency_ms)}</b> (quartiles {performance.q25_ms:.4g} to "
        f"{performance.q75_ms:.4g}, {performance.samples} samples)"
    ]
    for name, other in _named_baselines(record):
        parts.append(
            f"<b>{other.speedup:.2f}x</b> as fast as {name} (95 % interval {other.speedup_low:.3f} to "
            f"{other.speedup_high:.3f})"
        )
    lines = [f"<p>{', '.join(parts)}.</p>"]
    lines.append(
        f"<p>Precision class <code>{record.workload.precision}</code>: its largest error is "
        f"{correctness.error_ratio:.3g} times the reference's own, {record.error_budget:g} times are allowed; "
        f"{len(correctness.cases)} cases were judged.</p>"
    )
    if record.floor is not None and record.floor.floor_ms > 0:
        share = record.floor.floor_ms / performance.latency_ms
        bound = "memory" if record.floor.memory_ms >= record.floor.compute_ms else "arithmetic"
        lines.append(
            f"<p>The floor, set by {bound}, is {ms(record.floor.floor_ms)}: the winner runs at {share:.0%} of what "
            "the device's measured ceilings allow.</p>"
        )
    return "".join(lines)


def _named_baselines(record: Record) -> list[tuple[str, Comparison]]:
    """Eager, and the strongest of the others."""
    named = [(each.name, each) for each in record.baselines if each.name == "eager"]
    others = [each for each in record.baselines if each.name != "eager"]
    if others:
        strongest = min(others, key=lambda each: each.performance.latency_ms)
        named.append((strongest.name, strongest))
    return named


def _contest(record: Record) -> str:
    performance = record.evaluation.performance
    assert performance is not None
    rows: list[list[object]] = [
        ["winner", performance.latency_ms, performance.q25_ms, performance.q75_ms, performance.samples, None, ""]
    ]
    beside = ([("runner-up", record.runner_up)] if record.runner_up else []) + [(b.name, b) for b in record.baselines]
    for name, other in beside:
        p = other.performance
        interval = f"{other.speedup_low:.3f} to {other.speedup_high:.3f}"
        rows.append([name, p.latency_ms, p.q25_ms, p.q75_ms, p.samples, other.speedup, interval])
    headers = ["", "median, ms", "lower quartile, ms", "upper quartile, ms", "samples", "winner is faster by", "95 %"]
    return table(headers, rows)


def _unfinished(searched: Searched) -> str:
    best, line = searched.best, f"{len(searched.trials)} trials, {len(searched.right)} of them right"
    if best is None:
        return f"<p><b>No right kernel yet</b>: {line}.</p>"
    took = ms(best.evaluation.latency_ms)
    eager = searched.eager
    times = (
        f", {eager.latency_ms / best.evaluation.latency_ms:.2f}x as fast as eager before the search" if eager else ""
    )
    return (
        f"<p><b>No final yet</b>: the search runs, was killed, or its winner is gone. {line}. The best so far takes "
        f"<b>{took}</b>{times}: <code>{escape(str(best.point))}</code></p>"
    )


def _where(searched: Searched) -> str:
    rows: list[list[object]] = []
    environment, outline, record = searched.environment, searched.outline, searched.record
    if environment is not None:
        rows.append(["device", environment.device_name])
        rows.append(["software", f"PyTorch {environment.torch}, {environment.toolkit}, driver {environment.driver}"])
    if outline is not None:
        rows.append(["search", f"{outline.sampler}, seed {outline.seed}, {len(outline.started)} run(s)"])
    elif record is not None:
        rows.append(["search", f"seed {record.seed}, {record.created}; its ledger is not here"])
    if record is not None:
        rows += [["knobs", str(record.point)], ["trials", ", ".join(f"{k}: {n}" for k, n in record.trials.items())]]
        rows += [[name, value] for name, value in record.conditions.items()]
        if record.leaves:
            rows.append(["left to PyTorch", ", ".join(record.leaves)])
    rows += [["note", note] for note in (searched.final.notes if searched.final else ())]
    return table(["", ""], rows) if rows else ""


def cases(searched: Searched) -> Section | None:
    """Verification case by case; of the winner, else of the best trial."""
    best = searched.best
    evaluation = searched.record.evaluation if searched.record else best.evaluation if best else None
    correctness = evaluation.correctness if evaluation else None
    if correctness is None:
        return None
    rows = [
        ["ok" if c.ok else "WRONG", c.name, c.error, c.allowed, c.reference_error, c.detail] for c in correctness.cases
    ]
    headers = ["", "case", "error", "allowed", "reference's own error", ""]
    figure = _case_figure(correctness)
    return Section(
        "Verification, case by case",
        "Errors are the largest deviation from the float64 oracle, in the result's own unit.",
        f"<details><summary>{len(rows)} cases</summary>{table(headers, rows)}</details>",
        [figure] if figure else [],
    )


def _case_figure(correctness: Correctness) -> Figure | None:
    shown = [c for c in correctness.cases if c.error is not None and c.allowed and c.error > 0]
    if not shown:
        return None
    names = [c.name for c in shown]
    own = [(c.reference_error or 0) / (c.allowed or 1) for c in shown]
    traces = [
        {
            "type": "scatter", "mode": "markers", "name": "the kernel", "y": names,
            "x": [(c.error or 0) / (c.allowed or 1) for c in shown], "marker": {"color": COLOURS[0], "size": 7},
        },
        {
            "type": "scatter", "mode": "markers", "name": "the reference itself", "y": names, "x": own,
            "marker": {"color": GREY, "symbol": "line-ns-open", "size": 8},
        },
        {
            "type": "scatter", "mode": "lines", "name": "allowed", "x": [1, 1], "y": [names[0], names[-1]],
            "line": {"color": COLOURS[5], "dash": "dash"},
        },
    ]  # fmt: skip
    return Figure(
        "Each case's error as a share of what is allowed: everything left of 1 passes.",
        traces,
        {
            "xaxis": axis("error / allowed (no unit, log)", type="log", dtick=1, exponentformat="power"),
            "yaxis": axis("case", autorange="reversed", tickfont={"size": 10}, dtick=1),
        },
        height=120 + 15 * len(names),
    )


def source(searched: Searched) -> Section:
    """The kernel as it was measured, folded."""
    point = searched.record.point if searched.record else searched.best.point if searched.best else None
    rows = [[name, str(value)] for name, value in point.values] if point else []
    body = f"<p>Variant <code>{escape(point.variant)}</code>:</p>{table(['knob', 'value'], rows)}" if point else ""
    if searched.text is None:
        body += "<p>The source is kept with the winner alone, which there is none of yet.</p>"
    else:
        body += f"<details><summary>model_new.py</summary><pre>{escape(searched.text)}</pre></details>"
    return Section("Source", "The file that was timed is the file that ships, knobs as defines in front.", body)
