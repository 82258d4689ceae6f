"""Drafts as folders: kept while their problem is, and never written over what a person edited."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from helpers.problems import write_problem

from tuner import template
from tuner.drafting.drafts import Drafted, drafted
from tuner.records import Floating

EDITED = "is taken as edited"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a problem, and its draft in `drafts`."""
    root = tmp_path_factory.mktemp("project")
    write_problem(root, "return x * 2")
    said: list[str] = []
    asked(root, said)
    assert said == [f"drafting {root / 'problem.py'}"]
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def asked(root: Path, said: list[str], dtype: Floating | None = None) -> Drafted:
    return drafted(root / "problem.py", root / "drafts", os.environ, said.append, dtype)


def test_a_draft_is_kept(project: Path) -> None:
    said: list[str] = []
    assert (asked(project, said).folder / "template.py").is_file()
    assert said == []


def test_a_dtype_has_a_draft_of_its_own(project: Path) -> None:
    said: list[str] = []
    own, short = asked(project, said).folder, asked(project, said, "bfloat16").folder
    assert said == [f"drafting {project / 'problem.py'} in bfloat16"]
    assert short.name == own.name.replace("problem_", "problem_bfloat16_")
    taken = [{v.dtypes for v in template.load(folder).variants} for folder in (own, short)]
    assert taken == [{("float32",)}, {("bfloat16",)}]


@pytest.mark.parametrize("name", ["fused.hpp", "notes.txt", "inner/mine.cuh"])
def test_a_draft_that_was_edited_is_taken_as_it_is(project: Path, name: str) -> None:
    said: list[str] = []
    file = asked(project, said).folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("// mine\n")
    assert asked(project, said).folder == file.parents[name.count("/")]
    assert [EDITED in line for line in said] == [True] and file.read_text() == "// mine\n"


def test_what_python_caches_is_no_edit(project: Path) -> None:
    said: list[str] = []
    cached = asked(project, said).folder / "__pycache__" / "template.pyc"
    cached.parent.mkdir()
    cached.touch()
    asked(project, said)
    assert said == []


def test_a_draft_s_name_is_a_template_s_whatever_the_file_is_called(project: Path) -> None:
    odd = (project / "problem.py").rename(project / "größe 1.x.py")
    assert template.load(drafted(odd, project / "drafts", os.environ, print).folder).name.startswith("gr_e_1_x_")


def test_a_problem_that_changed_has_a_draft_of_its_own(project: Path) -> None:
    said: list[str] = []
    before = asked(project, said).folder
    write_problem(project, "return x * 3")
    after = asked(project, said).folder
    assert after != before and "* 3.0f" in (after / "fused.hpp").read_text() and before.is_dir()
