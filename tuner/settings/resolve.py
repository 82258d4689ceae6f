"""What a config names, looked up: its template, its device, its problem and its workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from tuner import backends, template
from tuner.execution.job import PREPARE_DEADLINE_S
from tuner.measurement.protocol import DeviceEnvironment, OpenInspector, OpenMachine, OwnWorkload
from tuner.records import Environment, Floating, Precision, TensorSpec, Workload
from tuner.settings import Settings, folder_of
from tuner.template import Template
from tuner.workers.worker import Worker


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
    return kernel, devices(settings)[0]


def _template(settings: Settings) -> Template:
    folder = template_folder(settings)
    with settings.blame("template"):
        return template.load(folder)


def devices(settings: Settings) -> list[str]:
    """The devices that a config asks for, one or several, by their full names. A fault names the place of its key."""
    if settings.devices is None:
        with settings.blame("device"):
            return [backends.resolve(settings.device)]
    with settings.blame("devices"):
        return backends.every(settings.devices)


def template_folder(settings: Settings) -> Path:
    """Where the template of a config lies, sound or not. A fault names the place of its key."""
    with settings.blame("template"):
        return folder_of(settings.template, settings.folder)


def problem_path(settings: Settings, kernel: Template) -> Path:
    """The reference's file: the config's own, else the template's."""
    return settings.problem or kernel.problem


def workloads(settings: Settings, problem: Path, environment: Mapping[str, str]) -> list[Workload]:
    """The workloads that a config asks for; what it leaves out, dtypes too, is the problem's own."""
    own = own_workload(problem, environment)
    return [
        _stated(own, shapes, settings.init, settings.precision, settings.dtype)
        for shapes in settings.input_shapes or (None,)
    ]


def _stated(
    own: Workload,
    shapes: Sequence[tuple[int, ...]] | None,
    init: Sequence[Any] | None,
    precision: Precision,
    dtype: Floating | None,
) -> Workload:
    """A workload of this precision; shapes, constructor arguments and dtype that are None are the problem's own."""
    inputs = own.inputs if shapes is None else _inputs(shapes, own.dtypes)
    stated = Workload(init=own.init if init is None else tuple(init), inputs=inputs, precision=precision)
    return stated.in_dtype(dtype)


def _inputs(shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Inputs of these shapes. One more than there are dtypes is of float32: the problem will refuse it."""
    each = chain(dtypes, repeat("float32"))
    return tuple(TensorSpec(shape=shape, dtype=dtype) for shape, dtype in zip(shapes, each, strict=False))


def own_workload(problem: Path, environment: Mapping[str, str]) -> Workload:
    """The workload of a problem's own get_init_inputs and get_inputs. Raises ProblemError."""
    with Worker(OpenInspector(problem), environment) as worker:
        return worker.call(OwnWorkload(), PREPARE_DEADLINE_S)


def stated_workload(
    problem: Path,
    shapes: Sequence[tuple[int, ...]] | None,
    init: Sequence[Any] | None,
    precision: Precision,
    environment: Mapping[str, str],
    dtype: Floating | None = None,
) -> Workload:
    """One workload of a problem; shapes, constructor arguments and dtype that are None are the problem's own."""
    return _stated(own_workload(problem, environment), shapes, init, precision, dtype)


def here(torch_device: str, toolchain: Mapping[str, str]) -> Environment:
    """The environment of this machine's device, asked of a worker process (this one never loads torch)."""
    with Worker(OpenMachine(), toolchain) as worker:
        return worker.call(DeviceEnvironment(torch_device), PREPARE_DEADLINE_S)
