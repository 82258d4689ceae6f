"""Kernel Tuner's T4 (results) and T1 (space), as the FAIR sharing of auto-tuning data has them, schema 1.0.0.

Every configuration has a value for every parameter: `variant`, and the knobs of all variants. A knob that the
point's variant does not have stands at its first choice, and a condition of the T1 says so; thus the space has each
point once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.errors import ConfigError
from tuner.records import Status, Trial
from tuner.results.searched import Searched
from tuner.results.table import seconds
from tuner.search.outline import Outline
from tuner.search.warm import VARIANT
from tuner.space import Choice

VERSION = "1.0.0"
INVALIDITY = {
    Status.OK: "correct",
    Status.COMPILE: "compile",
    Status.VERIFY: "correctness",
    Status.TIMEOUT: "timeout",
}  # all others: runtime
TYPES = {bool: "bool", int: "int", str: "string"}


def t4(searched: Searched) -> dict[str, Any]:
    """The trials of a search as a T4 document; its objective is `time`, in ms."""
    parameters = _parameters(searched)
    document: dict[str, Any] = {
        "schema_version": VERSION,
        "metadata": {"timeunit": "milliseconds"},
        "results": [_result(trial, parameters) for trial in searched.trials],
    }
    environment = searched.environment
    if environment is not None:
        document["metadata"] |= {
            "hardware": {"hardware_description": [{"device": environment.device_name, "cores": environment.cores}]},
            "environment": {
                "requirements": [f"torch=={environment.torch}", f"tuner=={environment.tuner}"],
                "device_query": {"driver": environment.driver, "toolkit": environment.toolkit},
            },
        }
    return document


def _result(trial: Trial, parameters: Mapping[str, Sequence[Choice]]) -> dict[str, Any]:
    evaluation, taken, knobs = trial.evaluation, seconds(trial), trial.point.knobs
    measured = [] if evaluation.performance is None else [("time", evaluation.latency_ms, "ms")]
    if evaluation.correctness is not None:
        measured.append(("error_ratio", evaluation.correctness.error_ratio, ""))
    compile_ms = 1e3 * (evaluation.compile_s or taken["compile_s"])
    return {
        "timestamp": trial.finished,
        "configuration": {VARIANT: trial.point.variant}
        | {name: knobs.get(name, choices[0]) for name, choices in parameters.items()},
        "objectives": ["time"],
        "times": {
            "compilation_time": compile_ms,
            "compilation": compile_ms,  # Kernel Tuner's own files call it so
            "benchmark": 1e3 * taken["benchmark_s"],
            "validation": 1e3 * taken["verify_s"],
            "framework": 1e3 * taken["load_s"],
            "search_algorithm": 0.0,  # not measured
            "runtimes": [] if evaluation.performance is None else [evaluation.latency_ms],
        },
        "invalidity": INVALIDITY.get(evaluation.status, "runtime"),
        "correctness": int(evaluation.status is not Status.VERIFY),
        "measurements": [{"name": name, "value": value, "unit": unit} for name, value, unit in measured],
    }


def _parameters(searched: Searched) -> dict[str, list[Choice]]:
    """Every knob of every variant with its choices; without an outline, those that were measured."""
    found: dict[str, list[Choice]] = {}
    if searched.outline is not None:
        pairs = [(knob.name, knob.choices) for branch in searched.outline.branches for knob in branch.knobs]
    else:
        pairs = [(name, (value,)) for trial in searched.trials for name, value in trial.point.values]
    for name, choices in pairs:
        known = found.setdefault(name, [])
        known += [choice for choice in choices if not any(_same(choice, other) for other in known)]
    return found


def _same(one: Choice, other: Choice) -> bool:
    return type(one) is type(other) and one == other


def t1(searched: Searched) -> dict[str, Any]:
    """The space of a search as a T1 document.

    Its template's constraints are Python, which T1's expressions cannot hold: they stand beside it by name.
    Raises ConfigError for a search that says no space.
    """
    outline = searched.outline
    if outline is None:
        raise ConfigError(f"{searched.name}: its space was not written down; search again, then ask for --t1")
    variants: list[Choice] = [branch.variant for branch in outline.branches]
    parameters = {VARIANT: variants, **_parameters(searched)}
    return {
        "General": {"FormatVersion": 1, "TimeUnit": "Milliseconds", "OutputFormat": "JSON"},
        "ConfigurationSpace": {
            "TuningParameters": [
                {"Name": name, "Type": _type(choices), "Values": str(list(choices))}
                for name, choices in parameters.items()
            ],
            "Conditions": _conditions(outline, parameters),
            "TemplateConstraints": sorted({rule for branch in outline.branches for rule in branch.constraints}),
        },
        "KernelSpecification": {
            # The schema has no C++: its one language that compiles nothing stands for it.
            "Language": "CUDA" if outline.environment.device_kind == "cuda" else "Hypertuner",
            "KernelName": outline.template,
            "KernelFile": f"kernel_templates/{outline.template}",
            "Device": {"Name": outline.environment.device_name},
            # The launcher in the source computes its grid from sizes and knobs.
            "GlobalSize": {"X": "1"},
            "LocalSize": {"X": "1"},
        },
        "Search": {"Name": outline.sampler, "Attributes": [{"Name": "seed", "Value": outline.seed}]},
        "Budget": [{"Type": "ConfigurationCount", "BudgetValue": outline.trials}]
        + ([{"Type": "TuningDuration", "BudgetValue": outline.time_budget_s}] if outline.time_budget_s else []),
    }


def _type(choices: Sequence[Choice]) -> str:
    kinds = {type(choice) for choice in choices}
    return TYPES[kinds.pop()] if len(kinds) == 1 else "string"


def _conditions(outline: Outline, parameters: Mapping[str, Sequence[Choice]]) -> list[dict[str, Any]]:
    """A knob that a variant does not have, or has fewer choices of, is held to what it has."""
    conditions = []
    for branch in outline.branches:
        own = {knob.name: list(knob.choices) for knob in branch.knobs}
        for name, choices in parameters.items():
            allowed = own.get(name, [choices[0]])
            if name != VARIANT and allowed != choices:
                expression = f"{VARIANT} != {branch.variant!r} or {name} in {allowed!r}"
                conditions.append({"Parameters": [VARIANT, name], "Expression": expression})
    return conditions


def text(document: Mapping[str, Any]) -> str:
    """As it goes into a file."""
    return json.dumps(document, indent=1) + "\n"
