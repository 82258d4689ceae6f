"""The verdict on a file, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tuner
from tuner.errors import ConfigError

PROBLEM = """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2


def get_inputs():
    return [torch.randn(4, 8)]


def get_init_inputs():
    return []
"""


@pytest.mark.slow
@pytest.mark.parametrize(("result", "word"), [("x.clamp(min=0) * 2", "right"), ("x * 2", "wrong")])
def test_it_is_returned(tmp_path: Path, result: str, word: str) -> None:
    (tmp_path / "problem.py").write_text(PROBLEM)
    (tmp_path / "new.py").write_text(PROBLEM.replace("Model", "ModelNew").replace("torch.relu(x) * 2", result))
    said: list[str] = []
    found = tuner.verify(
        tmp_path / "new.py", tmp_path / "problem.py", device="cpu", leaves=("clamp", "mul"), say=said.append
    )
    assert (found.word, bool(found)) == (word, word == "right"), found
    assert "building and verifying new.py" in said
    assert found.correctness is not None
    assert found.reason == found.correctness.fault


def test_what_is_asked_for_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"new\.py: no such file"):
        tuner.verify(tmp_path / "new.py", tmp_path / "problem.py")
    (tmp_path / "new.py").touch()
    with pytest.raises(ConfigError, match="precision: 'fp8' is not one of match, ieee, tf32"):
        tuner.verify(tmp_path / "new.py", tmp_path / "problem.py", precision="fp8")


@pytest.mark.parametrize(
    ("name", "value"),
    [("file", None), ("problem", 3), ("shapes", 3), ("shapes", [4, 8]), ("shapes", "4x8"), ("shapes", [[-1, 8]]),
     ("shapes", [[4.0, 8]]), ("init", 3), ("init", "abc"), ("init", {"a": 1}), ("device", None), ("precision", 3),
     ("error_budget", None), ("error_budget", "8"), ("error_budget", -1), ("error_budget", float("nan")),
     ("leaves", "relu"), ("leaves", [3]), ("leaves", None), ("say", 3), ("dtype", "half")],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line_that_names_it(tmp_path: Path, name: str, value: Any) -> None:
    (tmp_path / "problem.py").write_text(PROBLEM)
    given: dict[str, Any] = {"file": tmp_path / "problem.py", "problem": tmp_path / "problem.py", "device": "cpu"}
    with pytest.raises(ConfigError, match=f"^{name}: ") as refused:
        tuner.verify(**{**given, name: value})
    assert "\n" not in str(refused.value)
