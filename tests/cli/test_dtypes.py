"""A problem with parameters in another dtype than its own: searched, exported and verified, cast on every side."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.project import ONE_TRIAL, Project, refused

from tuner import store

LINEAR_GELU = """\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return F.gelu(self.linear(x))


def get_inputs():
    return [torch.randn(8, 32)]


def get_init_inputs():
    return [32]
"""
SHORT = ("--device", "cpu", "--trials", "1", "--final-budget-s", "0.1", "--baselines", "eager")


def in_float64(project: Project) -> None:
    """Have the tiny template take float64 alone; its problem stays in float32."""
    for name, old, new in (
        ("template.py", 'device="cpu",', 'device="cpu", dtypes=("float64",),'),
        ("plain.cpp", "float*", "double*"),
        ("common.hpp", "float", "double"),
    ):
        path = project.template / name
        path.write_text(path.read_text().replace(old, new))


def succeeded(project: Project, *arguments: str) -> str:
    code, out, err = project.run(*arguments)
    assert code == 0, out + err
    return out


def stored_in(project: Project, dtype: str) -> None:
    """There is a winner of the problem cast to this dtype."""
    (found,) = [entry for root in project.root.rglob("record.json") for entry in store.entries(root.parents[3])]
    workload = found.record.workload
    assert (workload.cast, workload.dtypes) == (dtype, (dtype,))
    assert f"dtype=torch.{dtype}" in found.text


def test_a_dtype_that_a_template_does_not_take_is_one_line(project: Project) -> None:
    line = refused(project, "search", "tiny.yaml", "--dtype", "bfloat16")
    assert "--dtype: template tiny: no variant takes inputs of bfloat16: plain takes float32" in line


def test_a_dtype_that_is_none_is_refused_before_a_problem_is_drafted(project: Project) -> None:
    (project.root / "mine.py").write_text(LINEAR_GELU)
    line = refused(project, "search", "mine.py", "--dtype", "half")
    assert "--dtype: should be 'float16', 'bfloat16', 'float32' or 'float64', not 'half'" in line


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_config_s_dtype_casts_a_problem_with_parameters(project: Project) -> None:
    in_float64(project)
    project.config.write_text(ONE_TRIAL + "dtype: float64\n")
    succeeded(project, "search", "tiny.yaml")
    stored_in(project, "float64")
    succeeded(project, "export", "tiny.yaml", "-o", "out.py", "--force")
    given = ("--problem", "templates/tiny/problem.py", "--device", "cpu")
    succeeded(project, "verify", "out.py", *given, "--dtype", "float64")
    code, out, _ = project.run("verify", "out.py", *given)  # as the problem is: a model that is not cast
    assert code == 1 and "torch.float64" in out


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_problem_file_is_drafted_in_the_dtype_that_is_asked_for(project: Project, dtype: str) -> None:
    (project.root / "mine.py").write_text(LINEAR_GELU)
    succeeded(project, "search", "mine.py", "--dtype", dtype, *SHORT)
    stored_in(project, dtype)
    succeeded(project, "export", "mine.py", "--dtype", dtype, "-o", "out.py", "--force", "--device", "cpu")
    succeeded(project, "verify", "out.py", "--problem", "mine.py", "--dtype", dtype, "--device", "cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_a_draft_in_another_dtype_is_a_template_of_it(project: Project) -> None:
    (project.root / "mine.py").write_text(LINEAR_GELU)
    out = succeeded(project, "new", "mine", "--problem", "mine.py", "--dtype", "bfloat16")
    assert "tuner search mine --dtype bfloat16" in out
    project.config.write_text("template: ./mine\ndevice: cpu\ndtype: bfloat16\ntrials: 1\nfinal_budget_s: 0.1\n")
    succeeded(project, "search", "tiny.yaml", "--baselines", "eager")
    stored_in(project, "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forward", "inputs", "says"),
    [
        ("x.float()", "torch.randn(8, 32)", "relu is of float32 beside inputs of bfloat16; a draft's results are"),
        ("self.linear.weight[x]", "torch.randint(9, (8,))", "inputs are int64; a draft wants one of float16, bfloat16"),
    ],
)
def test_a_dtype_that_a_problem_does_not_bear_is_one_line(
    project: Project, forward: str, inputs: str, says: str
) -> None:
    text = LINEAR_GELU.replace("self.linear(x)", forward).replace("torch.randn(8, 32)", inputs)
    (project.root / "mine.py").write_text(text.replace("F.gelu", "F.relu"))
    code, _, err = project.run("search", "mine.py", "--dtype", "bfloat16", *SHORT)
    assert code == 2 and f"mine.py: cannot be drafted: {says}" in err.splitlines()[-1]


def test_a_dtype_is_of_a_draft(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    line = refused(project, "new", "mine", "--dtype", "bfloat16")
    assert line.startswith("tuner: --dtype: is of a draft")
