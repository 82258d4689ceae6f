"""New templates: what they are made from, and that they are sound as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny import TINY

from tuner import problem, settings, template
from tuner.api import tune
from tuner.errors import ConfigError, ProblemError, TemplateError
from tuner.scaffold import new_template
from tuner.settings import static

RMS_PROBLEM = """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, size, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def get_inputs():
    return [torch.randn(64, 256)]


def get_init_inputs():
    return [256]
"""
RMS_SOURCE = """\
#include <cmath>
#ifndef UNROLL  // positions of a step
#define UNROLL 4
#endif
#ifndef EXACT
#define EXACT 0
#endif
extern "C" int rms_norm(const float* x, const float* weight, float* y, long long rows, long long columns, double eps) {
  for (long long row = 0; row < rows; row++) {
    double sum = EXACT * 0.0;
    for (long long i = 0; i < columns; i++) sum += double(x[row * columns + i]) * x[row * columns + i];
    const double scale = 1.0 / std::sqrt(sum / columns + eps + UNROLL * 0);
    for (long long i = 0; i < columns; i++) y[row * columns + i] = float(x[row * columns + i] * scale * weight[i]);
  }
  return 0;
}
"""


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """A source and a problem as a user has them."""
    (tmp_path / "rms.cpp").write_text(RMS_SOURCE)
    (tmp_path / "rms.py").write_text(RMS_PROBLEM)
    return tmp_path / "rms.cpp", tmp_path / "rms.py"


def sound(folder: Path) -> template.Template:
    assert static.faults(settings.load(folder)) == []
    return template.load(folder)


def test_the_example_is_a_sound_template(tmp_path: Path) -> None:
    files = new_template(tmp_path / "mine")
    assert [file.name for file in files] == ["problem.py", "rows.cpp", "rows.cu", "rows.py", "template.py"]
    assert [variant.device for variant in sound(tmp_path / "mine").variants] == ["cuda", "cpu"]


def test_a_source_s_signature_and_defaults_are_launcher_and_knobs(tmp_path: Path, own: tuple[Path, Path]) -> None:
    new_template(tmp_path / "rms", *own)
    (variant,) = sound(tmp_path / "rms").variants
    assert {knob.name: (knob.choices, knob.default) for knob in variant.knobs} == {
        "unroll": ((1, 2, 4, 8, 16), 4),
        "exact": ((0, 1), 0),
    }
    assert (tmp_path / "rms" / "rms.cpp").read_text() == RMS_SOURCE
    host = (tmp_path / "rms" / "rms.py").read_text()
    wanted = 'launch("rms_norm", aligned(x), aligned(model.weight), out, x.shape[0], x.shape[1], model.eps)'
    assert wanted in host


def test_a_problem_alone_is_drafted(tmp_path: Path, own: tuple[Path, Path]) -> None:
    new_template(tmp_path / "rms", problem=own[1])
    text = (tmp_path / "rms" / "fused.hpp").read_text()
    assert 'extern "C" int fused_' in text and "const Element* x" in text
    assert {variant.device for variant in sound(tmp_path / "rms").variants} == {"cuda", "cpu"}


def test_a_source_alone_gives_a_reference_to_be_written(tmp_path: Path, own: tuple[Path, Path]) -> None:
    new_template(tmp_path / "rms", own[0])
    (fault,) = static.faults(settings.load(tmp_path / "rms"))
    assert "problem.py:13: the reference is still to be written" in fault
    kernel = template.load(tmp_path / "rms")
    loaded = problem.load(kernel.problem)
    assert problem.default_workload(loaded).shapes == ((512, 1024), (512, 1024))
    with pytest.raises(ProblemError, match="write here, with PyTorch, what rms_norm computes"):
        problem.require_takes(loaded, problem.default_workload(loaded))
    assert (
        'launch("rms_norm", aligned(x), aligned(weight), out, x.shape[0], x.shape[1], model.eps)'
        in (tmp_path / "rms" / "rms.py").read_text()
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"folder": "no good"}, "letters, digits and _ alone"),
        ({"source": "no.cpp"}, r"no\.cpp: no such file"),
        ({"source": "rms.py"}, r"rms\.py: a source is a \.cu or a \.cpp file"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    tmp_path: Path, own: tuple[Path, Path], change: dict[str, str | None], says: str
) -> None:
    names: dict[str, str | None] = {"folder": "made", "source": "rms.cpp", "problem": "rms.py", **change}
    folder, source, problem = (tmp_path / name if name else None for name in names.values())
    assert folder is not None
    with pytest.raises(ConfigError, match=says):
        new_template(folder, source, problem)
    assert not folder.exists()


def test_what_a_source_includes_comes_with_it(tmp_path: Path, own: tuple[Path, Path]) -> None:
    (tmp_path / "depth.h").write_text("#ifndef DEPTH\n#define DEPTH 3\n#endif\nstatic int depth = DEPTH;\n")
    own[0].write_text('#include "depth.h"\n' + RMS_SOURCE)
    new_template(tmp_path / "made", *own)
    assert "depth" in {knob.name for knob in sound(tmp_path / "made").variants[0].knobs}


@pytest.mark.parametrize(
    ("shape", "sizes", "given"),
    [
        ((64,), "long long n", "x.numel()"),
        ((2, 3, 4, 5), "int n, int c, size_t hw", "x.shape[0], x.shape[1], x.shape[2:].numel()"),
        ((2, 3, 4), "int n, int c, size_t hw", "x.shape[0], x.shape[1], x.shape[2]"),
        ((2, 3, 4), "int rows, int columns", "x.numel() // x.shape[-1], x.shape[-1]"),
        ((8,), "int n, int c, int h, int w", "x.shape[0], 1, 1, x.shape[1:].numel()"),
    ],
)
def test_sizes_multiply_to_what_there_is(
    tmp_path: Path, own: tuple[Path, Path], shape: tuple[int, ...], sizes: str, given: str
) -> None:
    own[0].write_text(f'extern "C" void f(const float* x, float* y, {sizes}) {{ }}\n')
    own[1].write_text(RMS_PROBLEM.replace("randn(64, 256)", f"randn({', '.join(map(str, shape))})"))
    new_template(tmp_path / "made", *own)
    assert f"aligned(x), out, {given})" in (tmp_path / "made" / "made.py").read_text()


def test_inputs_of_a_source_alone_have_its_sizes(tmp_path: Path, own: tuple[Path, Path]) -> None:
    own[0].write_text('extern "C" void f(const float* x, float* y, int n, int c, int w) { }\n')
    new_template(tmp_path / "made", own[0])
    assert problem.default_workload(problem.load(tmp_path / "made" / "problem.py")).shapes == ((16, 512, 1024),)


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").touch()
    with pytest.raises(ConfigError, match="is there already"):
        new_template(tmp_path / "mine")


def test_a_source_that_exports_nothing_is_refused(tmp_path: Path, own: tuple[Path, Path]) -> None:
    own[0].write_text("int run(int n) { return n; }\n")
    with pytest.raises(TemplateError, match=r"rms\.cpp: exports nothing that can be called"):
        new_template(tmp_path / "rms", *own)


def test_a_problem_without_its_parts_is_refused(tmp_path: Path, own: tuple[Path, Path]) -> None:
    own[1].write_text(TINY["problem.py"].replace("def get_inputs", "def inputs"))
    with pytest.raises(ConfigError, match="defines no get_inputs"):
        new_template(tmp_path / "rms", *own)


@pytest.mark.slow
def test_what_is_made_is_searched_as_it_is(tmp_path: Path, own: tuple[Path, Path], needs_compiler: None) -> None:
    new_template(tmp_path / "rms", *own)
    (tmp_path / "pyproject.toml").touch()
    result = tune(tmp_path / "rms", trials=1, device="cpu", final_budget_s=1, baselines="eager")
    assert result.best is not None
