"""What every shipped kernel is put through: enrolment, small workloads, points, and a process that judges files.

Nothing here knows a kernel by name: a folder under kernel_templates/ enrols itself and each of its variants.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import queue
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from tuner import backends, problem, template
from tuner.backends import toolchain
from tuner.errors import ProblemError
from tuner.execution.compiler import Compile, Compiler, OpenCompiler
from tuner.records import TensorSpec, Workload
from tuner.space import Point
from tuner.template import Template, Variant, render
from tuner.verification.cases import TRIAL
from tuner.verification.criterion import error_of
from tuner.verification.parameters import load_state
from tuner.verification.reference import Reference
from tuner.verification.suite import Suite, run_case
from tuner.workers.protocol import Opening, Report, Request
from tuner.workers.worker import Worker

H200 = {"device": "cuda", "cores": 132, "shared_memory_per_block": 232448, "capability": (9, 0)}
CPU = {"device": "cpu", "cores": 2, "shared_memory_per_block": 0, "capability": (0, 0)}
WIDEST = 32  # the widest layer of a small workload
ROUND, ODD, LEAST = (5, 7, 9), (4, 2, 8), (0, 0, 0)  # what spatial sizes have beyond the least that the problem takes
SEED = 20260101
DEADLINE_S = 280.0

KERNELS = [template.load(template.shipped_folder() / name) for name in template.shipped_names()]


def variants(kind: str | None = None) -> list[Any]:
    """Every variant of every template (on one kind of device) as a pytest parameter (kernel, variant)."""
    return [
        pytest.param(kernel, variant, id=f"{kernel.name}-{variant.name}")
        for kernel in KERNELS
        for variant in kernel.variants
        if kind in (None, variant.device)
    ]


def kernels() -> list[Any]:
    return [pytest.param(kernel, id=kernel.name) for kernel in KERNELS]


# ---- workloads -------------------------------------------------------------------------------------


@functools.cache
def own(kernel: Template) -> Workload:
    """The problem's own workload; its inputs are made on the meta device, where they cost nothing."""
    with torch.device("meta"):
        return problem.default_workload(problem.load(kernel.problem))


def takes(kernel: Template, workload: Workload) -> bool:
    """Whether the reference takes this workload."""
    try:
        problem.require_takes(problem.load(kernel.problem), workload)
        kernel.axes(workload.init, workload.shapes)  # before PyTorch 2.12 meta lets a kernel exceed its input
    except (ProblemError, ValueError):
        return False
    return True


@functools.cache
def small(kernel: Template, batch: int, beyond: tuple[int, int, int] = ROUND) -> Workload:
    """The problem's workload with narrower layers, this batch and spatial sizes little `beyond` the least.

    All widths are divided by one power of two, so that their ratios (channels a group) stay.
    """
    workload = own(kernel)
    widths, factor = sorted(_integers(workload.init)), 1
    while widths[-1] // factor > WIDEST:
        factor *= 2
    divided = {n: n // factor for n in widths if n % factor == 0}

    def resized(spatial: Sequence[int]) -> Workload:
        inputs = [
            TensorSpec(shape=(batch, *(divided.get(n, n) for n in spec.shape[1:2]), *spatial[: len(spec.shape) - 2]))
            for spec in workload.inputs
        ]
        return workload.with_init(_mapped(workload.init, divided)).with_inputs(inputs)

    least = next(n for n in range(1, 64) if takes(kernel, resized([n] * 3)))
    return resized([least + more for more in beyond])


def _integers(values: Sequence[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, tuple):
            yield from _integers(value)
        elif type(value) is int:
            yield value


def _mapped(value: Any, divided: Mapping[int, int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_mapped(v, divided) for v in value)
    return divided.get(value, value) if type(value) is int else value


def one_channel_a_group(kernel: Template, workload: Workload) -> Workload | None:
    """The workload with as many groups as channels; None where the constructor's arguments do not say."""
    reference = problem.load(kernel.problem).model
    bound = inspect.signature(reference).bind(*workload.init)
    bound.apply_defaults()
    for i, value in reversed(list(enumerate(bound.args))):
        for channels in _integers(workload.init):
            init = (*bound.args[:i], channels, *bound.args[i + 1 :])
            changed = workload.with_init(init)
            if type(value) is int and takes(kernel, changed):
                with torch.device("meta"):
                    norms = [m for m in reference(*init).modules() if isinstance(m, nn.GroupNorm)]
                if norms and all(m.num_groups == m.num_channels > 1 for m in norms):
                    return changed
    return None


# ---- points and candidates -------------------------------------------------------------------------


def default(variant: Variant) -> Point:
    return Point(variant.name, tuple((knob.name, knob.default) for knob in variant.knobs))


def drawn(variant: Variant, rng: random.Random) -> Point:
    """A random point, valid or not."""
    return Point(variant.name, tuple((knob.name, rng.choice(knob.choices)) for knob in variant.knobs))


def points(
    kernel: Template, variant: Variant, workload: Workload, limits: Mapping[str, Any], count: int
) -> list[Point]:
    """The default and up to `count` random valid points of a workload, always the same ones."""
    facts = kernel.facts(workload.init, workload.shapes, limits)
    space = kernel.space(variant.device, facts, [variant.name])
    rng, found = random.Random(f"{kernel.name} {variant.name}"), [default(variant)]

    def is_new(point: Point) -> bool:
        return point not in found

    for _ in range(count):
        valid = space.nearest(drawn(variant, rng), is_new)
        found += [valid] if valid is not None else []
    return found


def text(kernel: Template, point: Point, workload: Workload) -> str:
    """The candidate of one point."""
    tuned = render.Tuned(point, workload.shapes, workload.dtype, "a test's device", workload.precision)
    return render.candidate(kernel, [tuned]).text


class Builds:
    """Candidate files, compiled beforehand by several processes at once."""

    def __init__(self, folder: Path, processes: int, capability: tuple[int, int] | None) -> None:
        self.folder, self.extensions = folder, folder / "extensions"
        self.processes, self.capability = processes, capability
        self.faults: dict[Path, str] = {}

    def path(self, candidate: str) -> Path:
        path = self.folder / f"{render.Candidate(candidate).sha256[:24]}.py"
        path.write_text(candidate)
        return path

    def compile(self, candidates: Sequence[str]) -> None:
        """Compile what is not compiled; what a compiler said of each is in `faults`."""
        paths = {self.path(candidate) for candidate in candidates} - set(self.faults)
        opening = OpenCompiler("cpu")
        idle: queue.SimpleQueue[Worker[Compiler]] = queue.SimpleQueue()

        def one(path: Path) -> None:
            worker = idle.get()
            try:
                fault = worker.call(Compile(path, self.extensions, self.capability), DEADLINE_S).fault
                self.faults[path] = fault and f"{fault}\n{worker.log_tail()}"
            finally:
                idle.put(worker)

        with ExitStack() as stack, ThreadPoolExecutor(self.processes) as pool:
            for _ in range(self.processes):
                idle.put(stack.enter_context(Worker(opening, toolchain.environment())))
            list(pool.map(one, sorted(paths)))


# ---- judging, in a process of its own ---------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """A candidate file, and the problem and workload that it is for."""

    problem: Path
    workload: Workload
    path: Path


@dataclass
class Followed:
    """Parameters whose change in place a candidate missed, and those whose change shows in no result."""

    missed: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


class Judge:
    """A service: runs candidate files on one device. A kernel that crashes ends this process alone."""

    def __init__(self, extensions: Path, torch_device: str) -> None:
        os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions)
        backends.of(torch_device).select()
        self.device = torch_device
        self.suites: dict[tuple[Path, str, int], Suite] = {}

    def suite(self, question: Question, cases: int) -> Suite:
        key = question.problem, question.workload.model_dump_json(), cases
        if key not in self.suites:
            loaded = problem.load(question.problem)
            self.suites[key] = Suite(loaded, question.workload, self.device, SEED, makes=TRIAL[:cases])
        return self.suites[key]


@dataclass(frozen=True)
class OpenJudge(Opening[Judge]):
    extensions: Path
    torch_device: str

    def open(self, report: Report) -> Judge:
        return Judge(self.extensions, self.torch_device)


@dataclass(frozen=True)
class AskVerify(Request[Judge, list[str]]):
    """What is wrong with a file by the suite that every trial goes through."""

    question: Question

    def run(self, service: Judge) -> list[str]:
        suite = service.suite(self.question, len(TRIAL))
        found = suite.run(suite.build(_module(self.question.path).ModelNew)).correctness()
        return [f"{case.name}: {case.detail}" for case in found.cases if not case.ok]


@dataclass(frozen=True)
class AskNear(Request[Judge, str]):
    """What is wrong at an odd workload. It has few results, so the reference may have no error by luck:
    1e-4 is allowed in any case, as KernelBench does. Groups of one element have the same result whatever that is:
    nobody would judge by it alone, but it is to be the right one."""

    question: Question

    def run(self, service: Judge) -> str:
        with mock.patch.object(Reference, "require_dependent"):
            suite = service.suite(self.question, 1)
        candidate, case = suite.build(_module(self.question.path).ModelNew), suite.cases[0]
        allowed = max(case.expected.main.allowed, 1e-4 * (1 + case.expected.main.scale))
        wider = replace(case, expected=case.expected.with_errors([case.expected.main.reference_error], [allowed]))
        return run_case(candidate, wider, repeat=True).detail


@dataclass(frozen=True)
class AskFollows(Request[Judge, Followed]):
    """Change each parameter in place, after a first call."""

    question: Question

    def run(self, service: Judge) -> Followed:
        suite = service.suite(self.question, len(TRIAL))
        model, case = suite.build(_module(self.question.path).ModelNew).model, suite.cases[0]
        load_state(model, case.state)
        result = Followed()
        with torch.no_grad():
            y = model(*case.inputs)
            for name, parameter in model.named_parameters():
                parameter.mul_(1.5).add_(torch.linspace(0, 0.5, parameter.numel()).to(parameter).view_as(parameter))
                state = {k: v.clone() for k, v in model.state_dict().items()}
                changed = suite.reference.expectation(state, case.inputs).main
                if error_of(y, changed.oracle) <= changed.allowed:
                    result.unseen.append(name)
                y = model(*case.inputs)
                if not error_of(y, changed.oracle) <= changed.allowed:
                    result.missed.append(name)
            for parameter in model.parameters():
                parameter.data = torch.stack([parameter, parameter * 0], -1)[..., 0]
            if not error_of(model(*case.inputs), changed.oracle) <= changed.allowed:
                result.missed.append("strides")
        return result


@dataclass(frozen=True)
class AskElsewhere(Request[Judge, str]):
    """What a file says when it is called on a device of another capability."""

    question: Question
    capability: tuple[int, int]

    def run(self, service: Judge) -> str:
        actual = torch.cuda.get_device_capability
        torch.cuda.get_device_capability = lambda *_: self.capability
        try:
            model = _module(self.question.path).ModelNew(*self.question.workload.init).to(service.device)
            with torch.no_grad():
                model(*[torch.rand(shape, device=service.device) for shape in self.question.workload.shapes])
        except RuntimeError as error:
            return str(error)
        finally:
            torch.cuda.get_device_capability = actual
        return ""


def _module(path: Path) -> Any:
    return problem.execute(path, f"candidate_{path.stem}")


def judge(builds: Builds, torch_device: str) -> Worker[Judge]:
    return Worker(OpenJudge(builds.extensions, torch_device), toolchain.environment())


# ---- as a user's own script would have it -----------------------------------------------------------

ALONE = """
import json, sys
sys.modules["tuner"] = None  # importing it fails
import torch
files, problem, init, shapes, device = json.loads(sys.argv[1])
init = [tuple(v) if isinstance(v, list) else v for v in init]
torch.backends.cudnn.allow_tf32 = False  # else a right result may differ by more than 1e-4 from the reference's


def executed(path):
    names = {}
    with open(path) as file:
        exec(file.read(), names)  # as KernelBench does: no __file__, no module
    return names


for path in files:
    reference = executed(problem)["Model"](*init).to(device)
    model = executed(path)["ModelNew"](*init).to(device)
    for parameter in reference.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.load_state_dict(reference.state_dict())
    x = [torch.rand(*shape, device=device) for shape in shapes]
    with torch.no_grad():
        ours, theirs = model(*x), reference(*x)
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4), path
    print("agrees")
"""


def question(kernel: Template, workload: Workload, path: Path) -> Question:
    return Question(kernel.problem, workload, path)


def run_alone(files: list[str], kernel: Template, workload: Any, torch_device: str, folder: Path) -> list[str]:
    arguments = json.dumps([files, str(kernel.problem), workload.init, workload.shapes, torch_device])
    environment = {**toolchain.environment(), "TORCH_EXTENSIONS_DIR": str(folder / "extensions")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line == "agrees"]
