"""What mattered: importance of the knobs, a slice per knob, parallel coordinates. Importance is Optuna's."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tuner.records import Trial
from tuner.report.figure import COLOURS, GREY, Figure, Section, Trace, axis
from tuner.results import Searched
from tuner.search.outline import BranchOutline
from tuner.space import Choice

ENOUGH = 12  # right trials of a variant, below which importance is noise
TENTH = 0.1
LEAST = 8  # trials that the best tenth is widened to


def knobs(searched: Searched) -> list[Section]:
    """Importance, slices and parallel coordinates, each variant by itself."""
    variants = [name for name, _ in Counter(t.point.variant for t in searched.right).most_common()]
    if not variants:
        return []
    sections = [_importance(searched, variants)]
    best = searched.record.point.variant if searched.record else searched.best.point.variant if searched.best else ""
    variants.sort(key=lambda name: name != best)
    for variant in variants:
        trials = [t for t in searched.trials if t.point.variant == variant]
        figures = [f for name in _names(trials) if (f := _slice(searched, variant, name, trials)) is not None]
        title = f"Slices of {variant}"
        sentence = "Each right candidate at its knob's value, and below it what share of points the constraints refuse."
        sections.append(Section(title, sentence, figures=figures, folded=variant != best))
    parallel = [f for v in variants if (f := _parallel(searched, v)) is not None]
    if parallel:
        sentence = (
            "Each line is a right candidate, orange ones are within a tenth of the way from the best to the worst."
        )
        sections.append(Section("Parallel coordinates", sentence, figures=parallel))
    return sections


def _names(trials: Sequence[Trial]) -> list[str]:
    return [name for name, _ in trials[0].point.values]


def _branch(searched: Searched, variant: str) -> BranchOutline | None:
    branches = searched.outline.branches if searched.outline else ()
    return next((branch for branch in branches if branch.variant == variant), None)


def _choices(searched: Searched, variant: str, name: str, trials: Sequence[Trial]) -> list[Choice]:
    branch = _branch(searched, variant)
    if branch is not None:
        return [choice for knob in branch.knobs if knob.name == name for choice in knob.choices]
    return sorted({t.point.knobs[name] for t in trials}, key=lambda value: (isinstance(value, str), value))


# ---- importance --------------------------------------------------------------------------------------


def _importance(searched: Searched, variants: Sequence[str]) -> Section:
    figures, few = [], []
    for variant in variants:
        right = [t for t in searched.right if t.point.variant == variant]
        if len(right) < ENOUGH:
            few.append(f"{variant} has {len(right)}")
            continue
        figures.append(_importance_figure(searched, variant, right))
    body = f"<p>Left out, for importance wants {ENOUGH} right candidates: {', '.join(few)}.</p>" if few else ""
    sentence = (
        "How much each knob decides whether a point is good (PED-ANOVA): among all right candidates for being in the "
        f"best tenth, and within the best tenth, or the best {LEAST} of few, for being in its better half."
    )
    return Section("Importance of the knobs", sentence, body, figures)


def _importance_figure(searched: Searched, variant: str, right: Sequence[Trial]) -> Figure:
    names = _names(right)
    region = min(1.0, max(TENTH, LEAST / len(right)))
    study = _study(searched, variant, right, by_index=True)
    every = _importances(study, names, TENTH, 1.0)
    best = _importances(study, names, region / 2, region)
    names = sorted(names, key=lambda name: -every[name])
    traces = [
        _bars("all right candidates", names, every, COLOURS[0]),
        _bars(f"the best {math.ceil(region * len(right))}", names, best, COLOURS[1]),
    ]
    shares = axis("importance (share, 0 to 1)", range=[0, 1])
    downwards = axis("knob", autorange="reversed")  # the first bar of the legend above, the first knob on top
    layout = {"barmode": "group", "xaxis": shares, "yaxis": downwards}
    return Figure(f"{variant}, by {len(right)} right candidates.", traces, layout, height=150 + 34 * len(names))


def _bars(name: str, knobs: Sequence[str], shares: dict[str, float], colour: str) -> Trace:
    return {
        "type": "bar", "orientation": "h", "name": name, "y": list(knobs), "x": [shares[knob] for knob in knobs],
        "marker": {"color": colour},
    }  # fmt: skip


def _importances(study: Any, names: Sequence[str], target: float, region: float) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is experimental, and that trials are few
        evaluator = PedAnovaImportanceEvaluator(target_quantile=target, region_quantile=region)
        found = get_param_importances(study, evaluator=evaluator)
    return {name: _finite(found.get(name, 0.0)) for name in names}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _study(searched: Searched, variant: str, right: Sequence[Trial], by_index: bool = False) -> Any:
    """A study in memory of one variant's right trials; ordered knobs by index, or all by value."""
    import optuna

    study = optuna.create_study()
    names = _names(right)
    choices = {name: _choices(searched, variant, name, right) for name in names}
    distributions: dict[str, Any] = {
        name: optuna.distributions.IntDistribution(0, max(len(values) - 1, 1))
        if by_index and type(values[0]) is int
        else optuna.distributions.CategoricalDistribution(values)
        for name, values in choices.items()
    }
    for trial in right:
        values: dict[str, Any] = {
            name: choices[name].index(value) if by_index and type(choices[name][0]) is int else value
            for name, value in trial.point.values
        }
        study.add_trial(
            optuna.trial.create_trial(value=trial.evaluation.latency_ms, params=values, distributions=distributions)
        )
    return study


# ---- slices ------------------------------------------------------------------------------------------


def _slice(searched: Searched, variant: str, name: str, trials: Sequence[Trial]) -> Figure | None:
    choices = _choices(searched, variant, name, trials)
    if len(choices) < 2:
        return None
    order = [str(choice) for choice in choices]
    right = [t for t in trials if t.evaluation.performance is not None]
    failed = Counter(str(t.point.knobs[name]) for t in trials if t.evaluation.performance is None)
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "markers", "name": "right", "x": [str(t.point.knobs[name]) for t in right],
            "y": [t.evaluation.latency_ms for t in right], "marker": {"color": COLOURS[0], "size": 6, "opacity": 0.6},
            "text": [str(t.point) for t in right], "hovertemplate": "%{y:.4g} ms<br>%{text}<extra></extra>",
            "showlegend": False,
        }
    ]  # fmt: skip
    branch = _branch(searched, variant)
    refusals = {str(each.choice): each for each in branch.refusals if each.knob == name} if branch else {}
    rules = sorted({rule for each in refusals.values() for rule in each.refused})
    for i, rule in enumerate(rules):
        shares = [100 * refusals[c].refused.get(rule, 0) / refusals[c].drawn if c in refusals else 0 for c in order]
        traces.append(
            {
                "type": "bar", "name": _short(rule), "x": order, "y": shares, "yaxis": "y2",
                "marker": {"color": COLOURS[(i + 1) % 8]}, "hovertemplate": f"{rule}: %{{y:.0f}} %<extra></extra>",
            }
        )  # fmt: skip
    if failed:
        counts = Counter(str(t.point.knobs[name]) for t in trials)
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "measured and failed", "yaxis": "y2", "x": order,
                "y": [100 * failed[c] / counts[c] if counts[c] else None for c in order],
                "marker": {"color": GREY, "symbol": "x", "size": 8},
            }
        )  # fmt: skip
    below = bool(rules or failed)
    layout: dict[str, Any] = {
        "barmode": "stack",
        "xaxis": axis(f"{name} (value)", type="category", categoryorder="array", categoryarray=order,
                      anchor="y2" if below else "y"),
        "yaxis": axis("time (ms, log)", type="log", domain=[0.42, 1] if below else [0, 1]),
        "legend": {"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top", "font": {"size": 10}},
    }  # fmt: skip
    if below:
        layout["yaxis2"] = axis("refused (%)", domain=[0, 0.34], range=[0, 101], anchor="x")
    return Figure(name, traces, layout, height=300 + (90 + 12 * len(rules) if below else 0))


def _short(rule: str) -> str:
    return rule if len(rule) <= 44 else rule[:41] + "…"


# ---- parallel coordinates ----------------------------------------------------------------------------


def _parallel(searched: Searched, variant: str) -> Figure | None:
    right = [t for t in searched.right if t.point.variant == variant]
    names = [name for name in _names(right) if len({t.point.knobs[name] for t in right}) > 1] if right else []
    if not names:
        return None
    order = sorted(right, key=lambda t: -t.evaluation.latency_ms)  # the fast ones are drawn last, on top
    times = [math.log10(t.evaluation.latency_ms) for t in order]
    low, high = min(times), max(times)
    columns = [[_share(time, low, high) for time in times]]
    texts = [[f"{10 ** (low + (high - low) * i / 4):.3g}" for i in range(5 if high > low else 1)]]
    for name in names:
        choices = _choices(searched, variant, name, right)
        columns.append([_share(choices.index(t.point.knobs[name]), 0, len(choices) - 1) for t in order])
        texts.append([str(choice) for choice in choices])
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "lines", "x": list(range(len(columns))), "y": [column[i] for column in columns],
            "name": f"{trial.evaluation.latency_ms:.4g} ms", "showlegend": False,
            "opacity": 0.35 + 0.6 * (i / len(order)),
            "line": {"color": _colour(columns[0][i]), "width": 1 + 1.5 * (1 - columns[0][i])},
            "text": str(trial.point), "hovertemplate": "%{fullData.name}<br>%{text}<extra></extra>",
        }
        for i, trial in enumerate(order)
    ]  # fmt: skip
    labels = [
        {"x": x, "y": i / max(len(column) - 1, 1), "text": text, "showarrow": False, "xanchor": "right", "xshift": -4,
         "font": {"size": 10}}
        for x, column in enumerate(texts) for i, text in enumerate(column)
    ]  # fmt: skip
    stand = {"type": "line", "y0": 0, "y1": 1, "line": {"color": GREY, "width": 1}, "layer": "below"}
    layout = {
        "xaxis": axis("time (ms, log), then a knob an axis (values)", tickvals=list(range(len(columns))),
                      showgrid=False, ticktext=["time, ms", *names], range=[-0.5, len(columns) - 0.5], zeroline=False),
        "yaxis": {"visible": False, "range": [-0.06, 1.06], "fixedrange": True},
        "annotations": labels,
        "shapes": [{**stand, "x0": x, "x1": x} for x in range(len(columns))],
        "hovermode": "closest",
    }  # fmt: skip
    sentence = f"{variant}: {len(right)} right candidates; the first axis is the time, the others knobs by value."
    return Figure(sentence, traces, layout, height=380, wide=True)


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _colour(share: float) -> str:
    """From the fastest to the slowest."""
    return COLOURS[1] if share < 0.1 else COLOURS[0] if share < 0.4 else GREY
