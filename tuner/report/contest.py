"""How sure the winner is and how far the limit: finalists, roofline, the device during the final."""

from __future__ import annotations

from tuner.measurement.statistics import paired_speedup
from tuner.records import Floor
from tuner.report.course import lines
from tuner.report.figure import COLOURS, GREY, Figure, Section, Trace, axis, table
from tuner.results import Searched


def contest(searched: Searched) -> list[Section]:
    """Sections for what is known: after a final, or of a winner's record."""
    sections = [each for each in (_finalists(searched), _roofline(searched), _conditions(searched)) if each is not None]
    return sections


# ---- finalists ---------------------------------------------------------------------------------------


def _finalists(searched: Searched) -> Section | None:
    rows = _ratios(searched)
    if not rows:
        return None
    short = {name: f"finalist {i}" for i, name in enumerate((n for n, *_ in rows if " " in n), 1)}
    labels = [short.get(name, name) for name, *_ in rows]
    trace: Trace = {
        "type": "scatter", "mode": "markers", "name": "winner is faster by", "y": labels,
        "x": [ratio for _, ratio, _, _ in rows], "text": [name for name, *_ in rows],
        "error_x": {
            "type": "data", "symmetric": False, "array": [high - ratio for _, ratio, _, high in rows],
            "arrayminus": [ratio - low for _, ratio, low, _ in rows], "color": COLOURS[0],
        },
        "marker": {"color": COLOURS[0], "size": 8},
        "hovertemplate": "%{x:.3f}x<br>%{text}<extra></extra>",
    }  # fmt: skip
    one: Trace = {
        "type": "scatter", "mode": "lines", "name": "as fast as the winner", "x": [1, 1],
        "y": [labels[0], labels[-1]], "line": {"color": GREY, "dash": "dash"},
    }  # fmt: skip
    layout = {
        "xaxis": axis("time over the winner's (ratio, log)", type="log"),
        "yaxis": axis("contestant", autorange="reversed"),
    }
    body = table(["", "knobs"], [[label, name] for name, label in short.items()]) if short else ""
    sentence = (
        "Medians of paired ratios with 95 % bootstrap intervals, drawn over whole rounds: an interval that lies right "
        "of 1 is shown to be slower than the winner."
    )
    figure = Figure("Each contestant beside the winner.", [trace, one], layout, height=150 + 30 * len(rows))
    folded = f"<details><summary>The finalists' knobs</summary>{body}</details>" if body else ""
    return Section("Finalists and baselines", sentence, folded, [figure])


def _ratios(searched: Searched) -> list[tuple[str, float, float, float]]:
    """Contestants by ratio of their time to the winner's, with its interval."""
    final, record = searched.final, searched.record
    if final is not None and final.winner in final.times_ms:
        ours = final.times_ms[final.winner]
        others = [name for name in final.times_ms if name != final.winner]
        found = [(name, *paired_speedup(ours, final.times_ms[name], final.rounds)) for name in others]
        return sorted(found, key=lambda row: row[1])
    if record is None:
        return []
    runner_up = [record.runner_up] if record.runner_up else []
    return [(each.name, each.speedup, each.speedup_low, each.speedup_high) for each in (*runner_up, *record.baselines)]


# ---- roofline ----------------------------------------------------------------------------------------


def _roofline(searched: Searched) -> Section | None:
    floor, best = searched.floor, searched.best
    if floor is None or not floor.bytes or not floor.flops:
        return None
    ours = searched.record.latency_ms if searched.record else best.evaluation.latency_ms if best else None
    named = ([("the kernel", ours)] if ours else []) + [(n, value) for n, value in lines(searched) if n != "floor"]
    if not named:
        return None
    intensity = floor.flops / floor.bytes
    spread = [intensity / 64, intensity * 64]
    traces = _roofs(floor, spread)
    for i, (name, value) in enumerate(named):
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": name, "x": [intensity],
                "y": [floor.flops / (value * 1e-3) / 1e12],
                "marker": {"color": COLOURS[i], "size": 11, "symbol": "circle" if i == 0 else "diamond"},
                "hovertemplate": "%{y:.4g} TFLOP/s<extra>%{fullData.name}</extra>",
            }
        )  # fmt: skip
    layout = {
        "xaxis": axis("operations a byte that must be moved (FLOP/B, log)", type="log", dtick=1),
        "yaxis": axis("rate (TFLOP/s, log)", type="log", dtick=1),
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"},
    }
    sentence = (
        f"The reference's {floor.flops:.4g} operations over {floor.bytes:.4g} bytes of inputs, parameters and result: "
        "the lines are what this device was measured to do."
    )
    return Section("Roofline", sentence, figures=[Figure("Position under the device's ceilings.", traces, layout, 420)])


def _roofs(floor: Floor, spread: list[float]) -> list[Trace]:
    """Slopes of memory, cut at the fastest arithmetic, and a level for each kind of arithmetic."""
    rates = {name: rate for name, rate in floor.ceilings.items() if name.endswith("tflops")}
    widths = {name: rate for name, rate in floor.ceilings.items() if name.endswith("gbps")}
    traces: list[Trace] = []
    top, widest = max(rates.values(), default=0.0), max(widths.values(), default=0.0)
    for i, (name, rate) in enumerate(rates.items()):
        left = max(spread[0], rate * 1e3 / widest) if widest else spread[0]
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{name.removesuffix('_tflops')} {rate:.4g} TFLOP/s",
                "x": [left, max(spread[1], left)], "y": [rate, rate],
                "line": {"color": GREY, "dash": ("solid", "dash", "dot", "dashdot")[i % 4]},
            }
        )  # fmt: skip
    for i, (name, width) in enumerate(widths.items()):
        right = min(spread[1], top * 1e3 / width) if top else spread[1]
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": f"memory, {name.removesuffix('_gbps')} {width:.4g} GB/s",
                "x": [min(spread[0], right), right], "y": [min(spread[0], right) * width / 1e3, right * width / 1e3],
                "line": {"color": COLOURS[6], "dash": ("solid", "dash", "dot")[i % 3]},
            }
        )  # fmt: skip
    return traces


# ---- the device --------------------------------------------------------------------------------------


def _conditions(searched: Searched) -> Section | None:
    readings = searched.final.readings if searched.final else ()
    shown = [
        (title, [getattr(reading, name) for reading in readings])
        for name, title in (("sm_mhz", "clock (MHz)"), ("power_w", "power (W)"), ("temperature_c", "temperature (°C)"))
    ]
    shown = [(title, values) for title, values in shown if any(value is not None for value in values)]
    if not shown:
        if searched.final is None:
            return None
        return Section("The device during the final", "This device tells neither clock nor power nor temperature.")
    at, count = [reading.at_s for reading in readings], len(shown)
    traces: list[Trace] = []
    layout: dict[str, object] = {"xaxis": axis("seconds of the final (s)", anchor=f"y{count}" if count > 1 else "y")}
    for i, (title, values) in enumerate(shown):
        suffix = "" if i == 0 else str(i + 1)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": title, "x": at, "y": values, "yaxis": f"y{suffix}",
                "line": {"color": COLOURS[i]}, "marker": {"size": 4},
            }
        )  # fmt: skip
        top = 1 - i / count
        layout[f"yaxis{suffix}"] = axis(title, domain=[top - 1 / count + 0.05, top])
    throttled = sorted({reason for reading in readings for reason in reading.throttling})
    sentence = f"Throttled by: {', '.join(throttled)}." if throttled else "It was not throttled."
    figure = Figure("Clock, power and temperature, once a second.", traces, layout, height=140 + 110 * count)
    return Section("The device during the final", sentence, figures=[figure])
