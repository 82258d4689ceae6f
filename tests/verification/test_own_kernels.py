"""Kernels of one's own whose inputs, results or buffers are of several dtypes, judged: honest ones are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import own_kernels
from helpers.complete import run_completely

from tuner import problem, template
from tuner.backends import toolchain
from tuner.space import Point
from tuner.template import render
from tuner.verification.suite import Suite

pytestmark = pytest.mark.usefixtures("needs_compiler")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where libraries are built: PyTorch builds one of a name only once a process."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def failures(tmp_path: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The cases that a kernel fails, some of its parts changed; each with what is said of it."""
    for name, value in toolchain.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(built))
    torch.set_num_threads(1)

    def failures(name: str, **changed: str) -> dict[str, str]:
        kernel = template.load(own_kernels.write(tmp_path, name, **changed))
        loaded = problem.load(kernel.problem)
        workload = problem.default_workload(loaded)
        point = Point(name, (("step", 2),))  # a text that no other test builds in this process
        each = workload.each_dtype
        tuned = render.Tuned(point, workload.shapes, workload.dtype, "a device", workload.precision, each)
        names: dict[str, Any] = {}
        exec(render.candidate(kernel, [tuned]).text, names)
        found = run_completely(Suite(loaded, workload, "cpu", 3), names["ModelNew"], seeds=1)
        return {case.name: case.detail for case in found.cases if not case.ok}

    return failures


@pytest.mark.parametrize("name", own_kernels.KERNELS)
def test_an_honest_kernel_is_right(failures: Any, name: str) -> None:
    assert failures(name) == {}


@pytest.mark.parametrize(
    ("part", "old", "new", "buffer"),
    [
        ("host", "layer.num_batches_tracked.add_(1)", "pass", "layer.num_batches_tracked"),
        ("body", "mean[j] = float((1 - momentum) * mean[j] + momentum * m);", "", "layer.running_mean"),
        ("body", "momentum * v / (n - 1)", "momentum * v / n", "layer.running_var"),
    ],
    ids=["batches not counted", "mean not kept", "biased variance"],
)
def test_a_kernel_that_leaves_other_buffers_is_wrong(failures: Any, part: str, old: str, new: str, buffer: str) -> None:
    text = own_kernels.BATCH_NORM[part]
    assert old in text
    found = failures("batch_norm", **{part: text.replace(old, new)})
    assert f"buffer {buffer}" in found["A random affine"]
