"""`tuner export` and `tuner verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.project import Project


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_an_altered_entry_is_quarantined_and_never_executed(searched: Project, tmp_path: Path) -> None:
    entry = searched.entry()
    mark = tmp_path / "executed"
    (entry.folder / "model_new.py").write_text(f"open({str(mark)!r}, 'w')\n{entry.text}")
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and err.count("\n") == 1 and "was moved to" in err
    assert not mark.exists() and not (searched.root / "out.py").exists()
    assert list((searched.cache / ".quarantine").iterdir())
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and "run `tuner search` first" in err
    assert searched.run("search", "tiny.yaml")[0] == 0  # the control: it is found anew
    searched.entry()


PROBLEM = """\
import torch, torch.nn as nn
class Model(nn.Module):
    def forward(self, x): return {reference}
def get_inputs(): return [torch.rand(8, 16)]
def get_init_inputs(): return []
"""
CANDIDATE = """\
import torch, torch.nn as nn
class ModelNew(nn.Module):
    def forward(self, x): return {result}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(
    ("reference", "result", "code", "word"),
    [
        ("x.cumsum(0)", "x.clone()", 1, "wrong"),
        ("torch.nn.functional.dropout(x, 0.5)", "torch.zeros_like(x)", 3, "cannot be judged"),
        ("x[:, :8].clone()", "x[:, :8].clone()", 0, "right"),
    ],
)
def test_verify_has_three_verdicts(tmp_path: Path, reference: str, result: str, code: int, word: str) -> None:
    project = Project(tmp_path / "project")
    (project.root / "problem.py").write_text(PROBLEM.format(reference=reference))
    (project.root / "new.py").write_text(CANDIDATE.format(result=result))
    ended, out, err = project.run("verify", "new.py", "--problem", "problem.py", "--device", "cpu", "--json")
    assert (ended, json.loads(out)["verdict"]) == (code, word), out + err


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(("leaves", "code"), [((), 1), (("--leaves", "cumsum"), 0)])
def test_verify_takes_what_may_be_left_to_pytorch(tmp_path: Path, leaves: tuple[str, ...], code: int) -> None:
    project = Project(tmp_path / "project")
    (project.root / "problem.py").write_text(PROBLEM.format(reference="x.cumsum(1)"))
    (project.root / "new.py").write_text(CANDIDATE.format(result="x.cumsum(1)"))
    ended, out, err = project.run("verify", "new.py", "--problem", "problem.py", "--device", "cpu", "--json", *leaves)
    assert ended == code, out + err
    found = json.loads(out)
    assert found["leaves"] == list(leaves[1:])
    assert {case["name"]: case["detail"] for case in found["cases"]}["own work"] == (
        "leaves cumsum to PyTorch" if leaves else "falls back to PyTorch's own cumsum"
    )


def test_verify_refuses_to_leave_what_pytorch_does_not_have(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    (project.root / "new.py").write_text(CANDIDATE.format(result="x"))
    code, _, err = project.run("verify", "new.py", "--problem", "problem.py", "--leaves", "cumsum,gelo")
    assert code == 2 and err.count("\n") == 1 and "--leaves: PyTorch" in err and "no operator aten::gelo" in err


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_verify_of_another_shape_keeps_the_inputs_own_dtype(tmp_path: Path) -> None:
    """Numbers of floating point have no bits to mask."""
    project = Project(tmp_path / "project")
    integers = PROBLEM.replace("torch.rand(8, 16)", "torch.randint(0, 99, (8, 16))")
    (project.root / "problem.py").write_text(integers.format(reference="x & 7"))
    (project.root / "new.py").write_text(CANDIDATE.format(result="x & 7"))
    given = ("--shape", "4x12", "--init", "[]", "--leaves", "bitwise_and", "--device", "cpu")
    ended, out, err = project.run("verify", "new.py", "--problem", "problem.py", *given)
    assert ended == 0, out + err
