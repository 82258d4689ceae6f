"""tuner export --format: a winner that a search found, in every form."""

from __future__ import annotations

import pytest
from helpers.project import Project, refused


@pytest.mark.slow
@pytest.mark.parametrize(("name", "output"), [("gpumode", "s.py"), ("flashinfer", "fi"), ("module", "m"),
                                              ("source", "k.cpp"), ("kernels", "hf")])  # fmt: skip
def test_a_searched_winner_holds_in_its_form(searched: Project, name: str, output: str) -> None:
    code, _, err = searched.run("export", "tiny.yaml", "--format", name, "-o", output, "--force")
    assert code == 0, err
    assert (searched.root / output).exists()


def test_an_output_without_the_forms_suffix_is_one_line(searched: Project) -> None:
    said = refused(searched, "export", "tiny.yaml", "--format", "source", "-o", "k.txt", "--force")
    assert "ends in .cpp or .cc" in said
