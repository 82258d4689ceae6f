"""Every folder under kernel_templates/, and every variant in it, keeps the contract of a template."""

from __future__ import annotations

import functools
import inspect
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import shipped
from helpers.shipped import CPU, DEADLINE_S, H200, LEAST, ODD, Builds, kernels, question, run_alone, small, variants
from torch._subclasses import FakeTensorMode

from tuner import problem, settings, template
from tuner.backends import toolchain
from tuner.export import kernelbench
from tuner.records import TensorSpec, Workload
from tuner.template import Template, Variant
from tuner.template.shared import host_file, include_folders, inline_includes
from tuner.verification.suite import Suite
from tuner.workers.worker import Worker

POINTS = 2  # random points a CPU variant that are compiled, beside its default
DRAWN = 200  # random points a variant that its constraints are asked about
LIMITS = {"cuda": H200, "cpu": CPU}
BATCH = 8
Asked = Worker[shipped.Judge]


# ---- the source -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_the_source_compiles_alone(kernel: Template, variant: Variant, needs_compiler: None) -> None:
    source = kernel.folder / variant.source
    command = [*toolchain.compiler(), "-march=native", "-c"]
    if source.suffix == ".cu":
        if toolchain.nvcc() is None:
            pytest.skip("no nvcc")
        major, minor = variant.minimum if variant.exact else max(variant.minimum, (9, 0))
        command = [toolchain.nvcc() or "", f"-arch=sm_{major}{minor}{'a' if variant.exact else ''}", "-cubin"]
    includes = [flag for folder in include_folders(kernel.folder) for flag in ("-I", str(folder))]
    command += ["-std=c++17", *includes, "-o", "/dev/null", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


IFNDEF = re.compile(r"^#ifndef (\w+).*\n((?:#define .*\n)+)#endif", re.MULTILINE)


def defaults(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Of each #ifndef-ed macro of a source: its default, and all that is defined with it."""
    found = {}
    for name, body in IFNDEF.findall(text):
        defined = dict(re.findall(r"^#define (\w+)[ \t]+(\S+)", body, re.MULTILINE))
        found[name] = defined.get(name, ""), defined
    return found


@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_spec_source_and_host_agree_on_the_knobs(kernel: Template, variant: Variant) -> None:
    source = inline_includes(kernel.folder / variant.source)
    hosts = host_file(kernel.folder, variant.host).read_text() + (kernel.folder / "model_new.py").read_text()
    guarded = defaults(source)
    for knob in variant.knobs:
        macro = knob.name.upper()
        in_host = re.search(rf"knobs\[[\"']{knob.name}[\"']\]", hosts)
        if macro not in guarded:
            assert in_host, f"{knob.name}: neither #ifndef {macro} in the source nor knobs[{knob.name!r}] in the host"
            assert not re.search(rf"^#if.*\b{macro}\b", source, re.MULTILINE), f"{macro}: has no default in the source"
            continue
        value, defined = guarded[macro]
        if isinstance(knob.default, str):
            names = {f"{macro}_{choice.upper()}": str(i) for i, choice in enumerate(map(str, knob.choices))}
            assert defined == {**names, macro: f"{macro}_{knob.default.upper()}"}
        else:
            assert value == str(int(knob.default)), f"{macro}: {value} in the source, {knob.default} in the template"
    hidden = set(guarded) - {knob.name.upper() for knob in variant.knobs}
    assert not hidden, f"the source guards {', '.join(sorted(hidden))}, which the template does not know as knobs"


# ---- the space --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_the_default_is_a_valid_point(kernel: Template, variant: Variant) -> None:
    workload = shipped.own(kernel)
    for more in ({}, {"cores": 64} if variant.device == "cpu" else {"cores": 114}):
        facts = kernel.facts(workload.init, workload.shapes, {**LIMITS[variant.device], **more})
        space = kernel.space(variant.device, facts, [variant.name])
        assert space.rejected_by(shipped.default(variant)) is None


@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_constraints_answer_for_every_point_and_always_the_same(kernel: Template, variant: Variant) -> None:
    """On the problem's own workload and on small ones; on a large device and on a small one."""
    rng = random.Random(f"{kernel.name} {variant.name} constraints")
    drawn = [shipped.default(variant), *(shipped.drawn(variant, rng) for _ in range(DRAWN))]
    poor = {"cores": 1, "shared_memory_per_block": 99 * 1024 if variant.device == "cuda" else 0}
    for workload in (shipped.own(kernel), small(kernel, 1, LEAST), small(kernel, 1, ODD)):
        for limits in (LIMITS[variant.device], {**LIMITS[variant.device], **poor}):
            facts = kernel.facts(workload.init, workload.shapes, limits)
            for point in drawn:
                knobs = SimpleNamespace(**point.knobs)
                for constraint in variant.constraints:
                    answers = [constraint.allows(knobs, facts) for _ in range(2)]
                    assert answers in ([True, True], [False, False]), f"{constraint.name}: {point}"


CONFIGS = shipped.KERNELS[0].folder.parent.parent / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_config_names_a_workload_with_points(path: Path) -> None:
    wanted = settings.load(path)
    kernel = template.find(wanted.template, path.parent)
    own = shipped.own(kernel)
    for shapes in wanted.input_shapes or (own.shapes,):
        inputs = tuple(TensorSpec(shape=shape) for shape in shapes)
        workload = Workload(init=wanted.init or own.init, inputs=inputs)
        problem.require_takes(problem.load(kernel.problem), workload)
        for kind in {variant.device for variant in kernel.variants} if wanted.device == "auto" else {wanted.device}:
            facts = kernel.facts(workload.init, workload.shapes, LIMITS[kind])
            assert kernel.space(kind, facts, wanted.variants, wanted.knobs).defaults


# ---- the candidate's text ---------------------------------------------------------------------------


@functools.cache
def candidates(kernel: Template, variant: Variant, count: int = POINTS) -> list[str]:
    """The default and random valid points of the problem's own workload, each as the text of its candidate."""
    workload = shipped.own(kernel)
    points = shipped.points(kernel, variant, workload, LIMITS[variant.device], count)
    return [shipped.text(kernel, point, workload) for point in points]


@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_kernelbench_s_static_rules_find_nothing(kernel: Template, variant: Variant) -> None:
    for candidate in candidates(kernel, variant, 5):
        assert kernelbench.static_faults(candidate) == []


def executed(kernel: Template, variant: Variant) -> dict[str, Any]:
    """The default candidate, run as KernelBench does. Nothing is compiled."""
    names: dict[str, Any] = {}
    exec(candidates(kernel, variant, 0)[0], names)
    return names


@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_the_constructor_and_the_parameters_are_the_reference_s(kernel: Template, variant: Variant) -> None:
    reference, model_new = problem.load(kernel.problem).model, executed(kernel, variant)["ModelNew"]
    assert str(inspect.signature(model_new)) == str(inspect.signature(reference))
    workload = small(kernel, BATCH)
    suite = Suite(problem.load(kernel.problem), workload, "cpu", shipped.SEED, makes=())
    model = suite.build(model_new).model  # raises for other names, another order, other shapes or other initial values
    model.load_state_dict(suite.reference.model.state_dict(), strict=True)
    assert [name for name, _ in model.named_parameters()] == [n for n, _ in suite.reference.model.named_parameters()]


def refusal(model: torch.nn.Module, *inputs: torch.Tensor) -> str:
    with pytest.raises(RuntimeError) as caught:
        model(*inputs)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
@pytest.mark.parametrize(("kernel", "variant"), variants())
def test_what_it_does_not_take_is_refused_in_words(kernel: Template, variant: Variant) -> None:
    """Before anything is compiled, so CUDA variants show it without a GPU, too."""
    workload = small(kernel, BATCH)
    model = executed(kernel, variant)["ModelNew"](*workload.init)
    inputs = [torch.rand(shape) for shape in workload.shapes]
    if variant.device == "cuda":
        assert "is a cuda kernel; the input is on cpu" in refusal(model, *inputs)
        return
    assert "is a cpu kernel; the input is on meta" in refusal(model, *[x.to("meta") for x in inputs])
    assert "an input requires a gradient" in refusal(model, *[x.clone().requires_grad_() for x in inputs])
    fewer = [x[0] for x in inputs]
    assert str(tuple(fewer[0].shape)) in refusal(model, *fewer)
    with pytest.raises(RuntimeError, match="cannot be traced"):
        torch.jit.trace(model, tuple(inputs))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert f"found an input that is torch.strided {dtype} on cpu" in refusal(model, *[x.to(dtype) for x in inputs])
    assert "found a parameter that is torch.strided torch.float64" in refusal(model.double(), *inputs)


@pytest.mark.skipif(not hasattr(torch.library, "register_fake"), reason="PyTorch before 2.4")
@pytest.mark.parametrize(("kernel", "variant"), variants("cpu"))
def test_tensors_without_values_give_the_reference_s_sizes(kernel: Template, variant: Variant) -> None:
    """What torch.compile and torch.export ask of the operation; nothing is compiled."""
    workload, reference = small(kernel, BATCH), problem.load(kernel.problem).model
    with FakeTensorMode():
        inputs = [torch.rand(shape) for shape in workload.shapes]
        wanted = reference(*workload.init)(*inputs)
        given = executed(kernel, variant)["ModelNew"](*workload.init)(*inputs)
    assert (given.shape, given.stride(), given.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.library, "opcheck"), reason="PyTorch before 2.4")
@pytest.mark.parametrize(("kernel", "variant"), variants("cpu"))
def test_the_operation_passes_opcheck(
    kernel: Template, variant: Variant, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(builds.extensions))
    workload = small(kernel, BATCH)
    model = executed(kernel, variant)["ModelNew"](*workload.init)
    state = [tensor.detach() for tensor in (*model.parameters(), *model.buffers())]
    inputs = [torch.rand(shape) for shape in workload.shapes]
    torch.library.opcheck(model.operation, (model.name_in_graphs, inputs, state))


@pytest.mark.parametrize(("kernel", "variant"), variants("cuda"))
def test_another_architecture_is_refused_in_words(kernel: Template, variant: Variant) -> None:
    (tuned,) = executed(kernel, variant)["KERNELS"]
    major, minor = max(variant.minimum, (8, 0))
    assert any(f"compute_{major}{minor}" in flag for flag in tuned.flags((major, minor)))
    others = [(variant.minimum[0] - 1, 0)] if variant.minimum > (0, 0) else []
    for capability in [*others, *([(variant.minimum[0] + 1, 0)] if variant.exact else [])]:
        with pytest.raises(RuntimeError, match=r"needs compute capability .*this device has {}\.0".format(*capability)):
            tuned.flags(capability)


# ---- on the CPU: compiled and run -------------------------------------------------------------------


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Every CPU variant's default and random points, compiled two at a time."""
    if not toolchain.compiler() or toolchain.ninja() is None:
        pytest.skip("no C++ compiler, or no ninja")
    made = Builds(tmp_path_factory.mktemp("conformance"), 2, None)
    made.compile([text for kernel, variant in _cpu() for text in candidates(kernel, variant)])
    return made


def _cpu() -> list[tuple[Template, Variant]]:
    return [parameter.values for parameter in variants("cpu")]


@pytest.fixture(scope="module")
def judge(builds: Builds) -> Iterator[Asked]:
    with shipped.judge(builds, "cpu") as worker:
        yield worker


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1 + POINTS))
@pytest.mark.parametrize(("kernel", "variant"), variants("cpu"))
def test_points_compile_and_are_right(
    kernel: Template, variant: Variant, number: int, builds: Builds, judge: Asked
) -> None:
    texts = candidates(kernel, variant)
    if number >= len(texts):
        pytest.skip("the space is smaller")
    path = builds.path(texts[number])
    assert builds.faults[path] == ""
    assert judge.call(shipped.AskVerify(question(kernel, small(kernel, BATCH), path)), DEADLINE_S) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1 + POINTS))
@pytest.mark.parametrize(("kernel", "variant"), variants("cpu"))
def test_other_sizes_hold(kernel: Template, variant: Variant, number: int, builds: Builds, judge: Asked) -> None:
    """Batches of 1 and 3, odd spatial sizes, the least that the reference takes, one channel a group."""
    texts = candidates(kernel, variant)
    if number >= len(texts):
        pytest.skip("the space is smaller")
    path, odd = builds.path(texts[number]), small(kernel, 3, ODD)
    single = shipped.one_channel_a_group(kernel, odd)
    for workload in (odd, small(kernel, 1), small(kernel, 1, LEAST), *([single] if single else [])):
        found = judge.call(shipped.AskNear(question(kernel, workload, path)), DEADLINE_S)
        assert found == "", f"{workload.init} {workload.shapes}: {found}"


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "variant"), variants("cpu"))
def test_a_parameter_changed_in_place_is_honoured(
    kernel: Template, variant: Variant, builds: Builds, judge: Asked
) -> None:
    path = builds.path(candidates(kernel, variant, 0)[0])
    found = judge.call(shipped.AskFollows(question(kernel, small(kernel, BATCH), path)), DEADLINE_S)
    assert found == shipped.Followed()


@pytest.mark.slow
@pytest.mark.parametrize("kernel", kernels())
def test_the_file_stands_alone(kernel: Template, builds: Builds, tmp_path: Path) -> None:
    """In a bare interpreter, elsewhere, with no tuner: it builds itself and agrees with the reference."""
    files = [str(builds.path(candidates(kernel, v, 0)[0])) for v in kernel.variants if v.device == "cpu"]
    if not files:
        pytest.skip("no variant for the CPU")
    workload = small(kernel, BATCH)
    assert run_alone(files, kernel, workload, "cpu", tmp_path) == ["agrees"] * len(files)
