"""How a search went: convergence, the distribution of times, where its seconds went."""

from __future__ import annotations

import datetime
import heapq
import itertools
from collections.abc import Callable, Sequence

from tuner.records import Status, Trial
from tuner.report.figure import COLOURS, GREY, Figure, Section, Trace, axis, ms
from tuner.results import Searched

PHASES = {"compile": 0, "wait": 7, "load": 4, "verify": 2, "benchmark": 1}  # to their colours
SAID = {"benchmark": "measure", "load": "load and launch"}


def ended(trial: Trial) -> float:
    """Unix time in s."""
    return datetime.datetime.fromisoformat(trial.finished).timestamp()


def clock(searched: Searched) -> Callable[[float], float]:
    """Unix time to seconds of searching: pauses between the runs of a search are left out."""
    trials = searched.trials
    begins = [min([s.began for s in t.evaluation.spans] or [ended(t) - t.evaluation.run_s]) for t in trials]
    starts = sorted(searched.outline.started) if searched.outline else [min(begins, default=0.0)]
    lengths = []
    for start, following in itertools.zip_longest(starts, starts[1:], fillvalue=float("inf")):
        ends = [ended(t) for t in trials if start <= ended(t) < following]
        lengths.append(max(ends, default=start) - start)
    offsets = list(itertools.accumulate(lengths, initial=0.0))

    def seconds(moment: float) -> float:
        run = max(sum(start <= moment for start in starts) - 1, 0)
        return offsets[run] + max(0.0, moment - starts[run])

    return seconds


def course(searched: Searched) -> list[Section]:
    """Sections for a search with trials; none for a winner alone."""
    if not searched.trials:
        return []
    right = searched.right
    sections = []
    if right:
        sections += [
            Section(
                "Best so far",
                "Whether the search had converged: the line falls while it still finds something.",
                figures=[_best(searched, False), _best(searched, True)],
            ),
            Section("Times of the right candidates", "How rare good points are.", figures=[_ecdf(searched)]),
        ]
    sections.append(Section("Timeline", "Where the search's time went.", figures=_timeline(searched)))
    return sections


def _best(searched: Searched, by_time: bool) -> Figure:
    at = clock(searched)
    trials = sorted(searched.trials, key=ended) if by_time else list(searched.trials)
    xs = [at(ended(t)) for t in trials] if by_time else list(range(1, len(trials) + 1))
    right = [(x, t) for x, t in zip(xs, trials, strict=True) if t.evaluation.status is Status.OK]
    best = list(itertools.accumulate((t.evaluation.latency_ms for _, t in right), min))
    span = [0, xs[-1]]
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "markers", "name": "a trial", "x": [x for x, _ in right],
            "y": [t.evaluation.latency_ms for _, t in right], "marker": {"color": GREY, "size": 5, "opacity": 0.7},
            "text": [str(t.point) for _, t in right], "hovertemplate": "%{y:.4g} ms<br>%{text}<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines", "name": "best so far", "x": [x for x, _ in right] + [xs[-1]],
            "y": [*best, best[-1]], "line": {"color": COLOURS[0], "shape": "hv", "width": 2.5},
        },
    ]  # fmt: skip
    for i, (name, value) in enumerate(lines(searched)):
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{name} {ms(value)}", "x": span, "y": [value, value],
                "line": {"color": COLOURS[i + 1], "dash": "dash", "width": 1.5},
            }
        )  # fmt: skip
    sentence = "Against seconds of searching, pauses left out." if by_time else "Against trials."
    x = "seconds of searching (s)" if by_time else "trial (count)"
    return Figure(sentence, traces, {"xaxis": axis(x, rangemode="tozero"), "yaxis": axis("time (ms, log)", type="log")})


def lines(searched: Searched) -> list[tuple[str, float]]:
    """What a kernel's time is held against: eager, compiled, the floor; ms."""
    found = [("eager", searched.eager.latency_ms)] if searched.eager else []
    if searched.record is not None:
        found += [
            (each.name, each.performance.latency_ms) for each in searched.record.baselines if each.name != "eager"
        ]
    if searched.floor is not None and searched.floor.floor_ms > 0:
        found.append(("floor", searched.floor.floor_ms))
    return found


def _ecdf(searched: Searched) -> Figure:
    traces = []
    variants = list(dict.fromkeys(trial.point.variant for trial in searched.right))
    for i, variant in enumerate(variants):
        times = sorted(t.evaluation.latency_ms for t in searched.right if t.point.variant == variant)
        share = [(n + 1) / len(times) for n in range(len(times))]
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": variant, "x": times, "y": share,
                "line": {"shape": "hv", "color": COLOURS[i % 8]}, "marker": {"size": 4},
            }
        )  # fmt: skip
    return Figure(
        "Share of each variant's right candidates that take at most so long: a steep foot at the left means that "
        "many points are about as good as the best.",
        traces,
        {"xaxis": axis("time (ms, log)", type="log"), "yaxis": axis("share of candidates (0 to 1)", range=[0, 1.03])},
    )


def _timeline(searched: Searched) -> list[Figure]:
    spans = [(span, trial) for trial in searched.trials for span in trial.evaluation.spans]
    if not spans:
        return [_outcomes(searched)]
    at, traces, totals = clock(searched), list[Trace](), dict[str, float]()
    lane_of = lanes([(s.began, s.began + s.seconds) for s, _ in spans if s.phase == "compile"])
    for phase, colour in PHASES.items():
        of_phase = [(span, trial) for span, trial in spans if span.phase == phase]
        if not of_phase:
            continue
        totals[phase] = sum(span.seconds for span, _ in of_phase)
        rows = [f"compiler {lane_of[s.began] + 1}" if phase == "compile" else "device" for s, _ in of_phase]
        traces.append(
            {
                "type": "bar", "orientation": "h", "name": SAID.get(phase, phase), "y": rows,
                "base": [at(span.began) for span, _ in of_phase], "x": [span.seconds for span, _ in of_phase],
                "marker": {"color": COLOURS[colour], "line": {"width": 0}},
                "text": [f"trial {trial.number}: {trial.evaluation.status.value}" for _, trial in of_phase],
                "textposition": "none", "hovertemplate": "%{text}, %{x:.2f} s<extra>%{fullData.name}</extra>",
            }
        )  # fmt: skip
    failed = [trial for trial in searched.trials if trial.evaluation.status is not Status.OK]
    if failed:
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "failed", "x": [at(ended(t)) for t in failed],
                "y": ["outcome"] * len(failed), "marker": {"color": COLOURS[5], "symbol": "x", "size": 7},
                "text": [f"trial {t.number}: {t.evaluation.status.value}" for t in failed],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    right = searched.right
    traces.append(
        {
            "type": "scatter", "mode": "markers", "name": "right", "x": [at(ended(t)) for t in right],
            "y": ["outcome"] * len(right), "marker": {"color": COLOURS[2], "symbol": "circle", "size": 5},
            "text": [f"trial {t.number}: {ms(t.evaluation.latency_ms)}" for t in right],
            "hovertemplate": "%{text}<extra></extra>",
        }
    )  # fmt: skip
    compilers = 1 + max(lane_of.values(), default=0)
    order = ["outcome", *(f"compiler {n}" for n in range(compilers, 0, -1)), "device"]
    layout = {
        "barmode": "overlay",
        "xaxis": axis("seconds of searching (s)"),
        "yaxis": axis("lane", categoryorder="array", categoryarray=order),
    }
    last = max(at(ended(trial)) for trial in searched.trials)
    return [
        Figure("Every trial, by lane: compilers work ahead, the device measures one at a time.", traces, layout,
               height=220 + 26 * compilers),
        _totals(totals, last),
    ]  # fmt: skip


def lanes(intervals: Sequence[tuple[float, float]]) -> dict[float, int]:
    """A compiler for each interval, by its beginning: the first that is free."""
    free, busy, found = list[int](), list[tuple[float, int]](), dict[float, int]()
    for began, end in sorted(intervals):
        while busy and busy[0][0] <= began:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, lane))
        found[began] = lane
    return found


def _totals(totals: dict[str, float], last: float) -> Figure:
    on_device = sum(seconds for phase, seconds in totals.items() if phase != "compile")
    names = [SAID.get(phase, phase) for phase in totals] + ["device idle"]
    values = [*totals.values(), max(0.0, last - on_device)]
    trace = {
        "type": "bar", "orientation": "h", "y": names, "x": values, "name": "seconds",
        "marker": {"color": [COLOURS[PHASES[phase]] for phase in totals] + [GREY]},
        "text": [f"{value:.1f} s" for value in values], "textposition": "auto",
    }  # fmt: skip
    sentence = (
        f"Seconds by phase, of {last:.0f} s in all; compiling goes on beside the device where that disturbs nothing."
    )
    layout = {
        "xaxis": axis("seconds, all trials (s)"),
        "yaxis": axis("phase", autorange="reversed"),
        "showlegend": False,
    }
    return Figure(sentence, [trace], layout, height=260)


def _outcomes(searched: Searched) -> Figure:
    """For a ledger that is older than its phases: when each trial ended."""
    at, traces = clock(searched), []
    for i, status in enumerate(dict.fromkeys(t.evaluation.status for t in searched.trials)):
        of_status = [t for t in searched.trials if t.evaluation.status is status]
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": status.value, "x": [at(ended(t)) for t in of_status],
                "y": [t.evaluation.run_s for t in of_status], "marker": {"color": COLOURS[i % 8]},
            }
        )  # fmt: skip
    layout = {"xaxis": axis("seconds of searching (s)"), "yaxis": axis("verifying and measuring (s)")}
    return Figure("When each trial ended, and how long it was on the device.", traces, layout)
