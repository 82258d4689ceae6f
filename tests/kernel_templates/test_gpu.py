"""On a CUDA device: every CUDA variant of every template compiles, is right, and follows its parameters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import shipped
from helpers.shipped import DEADLINE_S, LEAST, ODD, Builds, kernels, own, question, run_alone, small, variants

from tuner import backends
from tuner.backends import toolchain
from tuner.errors import TunerError
from tuner.records import Workload
from tuner.settings import resolve
from tuner.space import Point
from tuner.template import Template, Variant
from tuner.workers.worker import Worker

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backends.of("cuda").missing() is not None, reason=backends.of("cuda").missing() or ""),
]

POINTS = 3  # random points a variant, beside its default
LARGE_BATCH = 16
DEVICE = "cuda:0"
CUDA = variants("cuda")
Asked = Worker[shipped.Judge]


@pytest.fixture(scope="module")
def limits() -> dict[str, Any]:
    return backends.of(DEVICE).limits(resolve.here(DEVICE, toolchain.environment()))


@pytest.fixture(scope="module")
def points(limits: dict[str, Any]) -> dict[str, list[Point]]:
    """The points of every variant that runs on this device."""
    found = {}
    for kernel, variant in _cuda():
        try:
            found[f"{kernel.name} {variant.name}"] = shipped.points(kernel, variant, large(kernel), limits, POINTS)
        except TunerError:  # another architecture, or no valid point on this device
            found[f"{kernel.name} {variant.name}"] = []
    return found


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory, limits: dict[str, Any], points: dict[str, list[Point]]) -> Builds:
    """Every point of every variant, compiled side by side."""
    processes = max(1, min(16, (os.cpu_count() or 2) - 1))
    made = Builds(tmp_path_factory.mktemp("gpu"), processes, tuple(limits["capability"]))
    made.compile(
        [
            shipped.text(kernel, point, large(kernel))
            for kernel, variant in _cuda()
            for point in points[f"{kernel.name} {variant.name}"]
        ]
    )
    return made


@pytest.fixture(scope="module")
def judge(builds: Builds) -> Iterator[Asked]:
    with shipped.judge(builds, DEVICE) as worker:
        yield worker


def _cuda() -> list[tuple[Template, Variant]]:
    return [parameter.values for parameter in CUDA]


def large(kernel: Template) -> Workload:
    """The problem's own sizes with a smaller batch."""
    workload = own(kernel)
    return workload.with_batch(min(LARGE_BATCH, workload.shapes[0][0]))


def file(kernel: Template, variant: Variant, number: int, builds: Builds, points: dict[str, list[Point]]) -> Path:
    """The compiled file of one point; skips where there is none here."""
    found = points[f"{kernel.name} {variant.name}"]
    if number >= len(found):
        pytest.skip("no such point on this device")
    path = builds.path(shipped.text(kernel, found[number], large(kernel)))
    assert builds.faults[path] == "", f"{found[number]}"
    return path


@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_the_default_is_right_in_class_match(
    kernel: Template, variant: Variant, builds: Builds, judge: Asked, points: dict[str, list[Point]]
) -> None:
    path = file(kernel, variant, 0, builds, points)
    assert judge.call(shipped.AskVerify(question(kernel, large(kernel), path)), DEADLINE_S) == []


@pytest.mark.parametrize("number", range(1, 1 + POINTS))
@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_random_points_are_right(
    kernel: Template,
    variant: Variant,
    number: int,
    builds: Builds,
    judge: Asked,
    points: dict[str, list[Point]],
) -> None:
    """To TF32's error at least: knobs may choose such products; whether `match` takes them is the search's to find."""
    path = file(kernel, variant, number, builds, points)
    allowed = large(kernel).with_precision("tf32")
    assert judge.call(shipped.AskVerify(question(kernel, allowed, path)), DEADLINE_S) == []


@pytest.mark.parametrize("number", range(1 + POINTS))
@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_other_sizes_hold(
    kernel: Template,
    variant: Variant,
    number: int,
    builds: Builds,
    judge: Asked,
    points: dict[str, list[Point]],
) -> None:
    """A batch of 1 and of 3, odd sizes, the least that the reference takes, one channel a group."""
    path, odd = file(kernel, variant, number, builds, points), small(kernel, 3, ODD)
    single = shipped.one_channel_a_group(kernel, odd)
    for workload in (odd, small(kernel, 1), small(kernel, 1, LEAST), *([single] if single else [])):
        allowed = workload.with_precision("tf32")
        found = judge.call(shipped.AskNear(question(kernel, allowed, path)), DEADLINE_S)
        assert found == "", f"{workload.init} {workload.shapes}: {found}"


@pytest.mark.parametrize("number", range(1 + POINTS))
@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_a_parameter_changed_in_place_is_honoured(
    kernel: Template,
    variant: Variant,
    number: int,
    builds: Builds,
    judge: Asked,
    points: dict[str, list[Point]],
) -> None:
    path = file(kernel, variant, number, builds, points)
    allowed = small(kernel, 8).with_precision("tf32")
    assert judge.call(shipped.AskFollows(question(kernel, allowed, path)), DEADLINE_S).missed == []


@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_a_call_on_another_architecture_is_refused_in_words(
    kernel: Template, variant: Variant, builds: Builds, judge: Asked, points: dict[str, list[Point]]
) -> None:
    if variant.minimum == (0, 0):
        pytest.skip("runs on any architecture")
    path = file(kernel, variant, 0, builds, points)
    lower = (variant.minimum[0] - 1, 5)
    said = judge.call(shipped.AskElsewhere(question(kernel, small(kernel, 2), path), lower), DEADLINE_S)
    assert "needs compute capability" in said
    assert f"this device has {lower[0]}.{lower[1]}" in said


@pytest.mark.parametrize("kernel", kernels())
def test_the_file_stands_alone(
    kernel: Template, builds: Builds, points: dict[str, list[Point]], tmp_path: Path
) -> None:
    files = [
        str(builds.path(shipped.text(kernel, points[f"{kernel.name} {v.name}"][0], large(kernel))))
        for v in kernel.variants
        if points.get(f"{kernel.name} {v.name}")
    ]
    if not files:
        pytest.skip("no variant for this device")
    workload = small(kernel, 8)
    assert run_alone(files, kernel, workload, DEVICE, tmp_path) == ["agrees"] * len(files)


@pytest.mark.skipif(not hasattr(torch.library, "register_fake"), reason="PyTorch before 2.4")
@pytest.mark.parametrize(("kernel", "variant"), CUDA)
def test_a_model_is_compiled_and_exported_whole(
    kernel: Template, variant: Variant, builds: Builds, points: dict[str, list[Point]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = points[f"{kernel.name} {variant.name}"]
    if not mine:
        pytest.skip("not for this device")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(builds.extensions))
    for name, value in toolchain.environment().items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    exec(shipped.text(kernel, mine[0], large(kernel)), names)
    workload = small(kernel, 8)
    torch._dynamo.reset()
    model = names["ModelNew"](*workload.init).to(DEVICE)
    inputs = tuple(torch.rand(shape, device=DEVICE) for shape in workload.shapes)
    with torch.no_grad():
        wanted = model(*inputs)
        for made in (torch.compile(model, fullgraph=True), torch.export.export(model, inputs).module()):
            torch.testing.assert_close(made(*inputs), wanted)


def test_pytorch_sees_the_device() -> None:
    assert torch.cuda.is_available()
