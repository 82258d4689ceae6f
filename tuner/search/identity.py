"""Names by content: whatever would make a measurement or a verdict mean something else changes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tuner import verification
from tuner.records import Environment, Workload
from tuner.settings import Settings
from tuner.template import Template, render


def study_name(
    settings: Settings, template: Template, workload: Workload, environment: Environment, problem_sha256: str
) -> str:
    """Name of a study and its ledger."""
    variants = [v for v in template.variants if v.device == environment.device_kind]
    digest = _digest(
        workload=workload.model_dump(mode="json"),
        environment=environment.model_dump(mode="json"),
        problem=problem_sha256,
        variants={v.name: [render.digest(template, v, workload.each_dtype), repr(v.knobs)] for v in variants},
        only=settings.variants,
        knobs=settings.knobs,
        sampler=settings.sampler,
        seed=settings.seed,
        error_budget=settings.error_budget,
        suite=suite_text(),
    )
    return f"{template.name}-{digest}"


def self_check_name(problem_sha256: str, workload: Workload, environment: Environment, error_budget: float) -> str:
    """Name of what became of the mutants of a problem."""
    digest = _digest(
        problem=problem_sha256,
        workload=workload.model_dump(mode="json"),
        environment=environment.model_dump(mode="json"),
        error_budget=error_budget,
        suite=suite_text(),
    )
    return f"self-check-{digest}.json"


def suite_text() -> list[str]:
    """What judges a candidate, to the letter."""
    return [path.read_text() for path in sorted(Path(verification.__file__).parent.rglob("*.py"))]


def _digest(**meaning: object) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).hexdigest()[:16]
