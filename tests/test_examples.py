"""The examples run as they are, on the CPU, in a copy of their folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMITS = {"TUNER_TRIALS": "3", "TUNER_DEVICE": "cpu", "TUNER_FINAL_BUDGET_S": "0.5", "TUNER_BASELINES": "eager"}
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_compiler")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(project: Path, command: str) -> str:
    """What a command of the documentation prints in a copy of the project, searches cut short."""
    words = shlex.split(command)
    programs = {"python": [sys.executable], "tuner": [sys.executable, "-m", "tuner"]}
    environment = {**os.environ, **LIMITS, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*programs[words[0]], *words[1:]], cwd=project, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_softmax_is_one_file(project: Path) -> None:
    assert " agrees\n" in run(project, "python examples/softmax.py")
    assert len((ROOT / "examples" / "softmax.py").read_text().splitlines()) <= 25


def test_a_problem_is_drafted_and_searched(project: Path) -> None:
    printed = run(project, "tuner search examples/conv_tanh_pool.py")
    assert "kernel pool (windows)" in printed and "cached: " in printed


def test_the_readme_shows_a_draft_as_it_is_written(project: Path) -> None:
    printed = run(project, "tuner new drafted --problem examples/conv_tanh_pool.py")
    readme = (ROOT / "README.md").read_text()
    (functor,) = re.findall(r"```cpp\n(.*?)```", readme, re.DOTALL)
    assert functor in (project / "drafted" / "fused.hpp").read_text()
    for line in (project / "drafted" / "plan.txt").read_text().splitlines():
        assert line in readme and line in printed


def test_a_template_s_folder_is_searched(project: Path) -> None:
    assert "cached: " in run(project, "tuner search examples/rms_norm")


def test_an_existing_source_is_tuned(project: Path) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", (ROOT / "examples" / "README.md").read_text(), re.DOTALL)
    assert commands in (ROOT / "README.md").read_text()
    assert "cached: " in [run(project, command) for command in commands.splitlines()][-1]
