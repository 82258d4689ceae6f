"""What a config names, looked up: its template, its device, its problem and its workloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner import backends, template
from tuner.execution.pipeline import PREPARE_DEADLINE_S
from tuner.execution.worker import Worker
from tuner.records import Environment, TensorSpec, Workload
from tuner.settings import Settings
from tuner.template import Template


def checked_template(settings: Settings) -> Template:
    """The template of a config, whose variants and knobs are known to be there. A fault names the place of its key."""
    kernel = _template(settings)
    with settings.blame("variants"):
        kernel.check_names(settings.variants, device=settings.device)
    with settings.blame("knobs"):
        kernel.check_names(settings.variants, settings.knobs, device=settings.device)
    return kernel


def template_and_device(settings: Settings) -> tuple[Template, str]:
    """The template, and the device's name for torch, that a config asks for. A fault names the place of its key."""
    kernel = _template(settings)
    with settings.blame("device"):
        return kernel, backends.resolve(settings.device)


def _template(settings: Settings) -> Template:
    with settings.blame("template"):
        return template.find(settings.template, Path("/"))  # a path is absolute by now


def problem_path(settings: Settings, kernel: Template) -> Path:
    """The reference's file: the config's own, else the template's."""
    return settings.problem or kernel.problem


def workloads(settings: Settings, problem: Path, environment: dict[str, str]) -> list[Workload]:
    """The workloads that a config asks for; what it leaves out is the problem's own."""
    shapes = settings.input_shapes
    init: Sequence[Any] | None = settings.init
    if shapes is None or init is None:
        with Worker("tuner.measurement.session:Inspector", {"problem_path": str(problem)}, environment) as worker:
            own = Workload.model_validate(worker.call("workload", PREPARE_DEADLINE_S))
        shapes = shapes or (own.shapes,)
        init = own.init if init is None else init
    return [
        Workload(
            init=tuple(init),
            inputs=tuple(TensorSpec(shape=shape, dtype=settings.dtype) for shape in inputs),
            precision=settings.precision,
        )
        for inputs in shapes
    ]


def here(torch_device: str, toolchain: dict[str, str]) -> Environment:
    """The environment of this machine's device, asked of a worker process (this one never loads torch)."""
    with Worker("tuner.measurement.session:Here", {}, toolchain) as worker:
        return Environment.model_validate(worker.call("environment", PREPARE_DEADLINE_S, torch_device=torch_device))
