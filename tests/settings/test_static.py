"""Faults that are found without running anything: all of them, each with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuner import settings
from tuner.errors import ConfigError
from tuner.settings import static

Faults = Callable[[], list[str]]


@pytest.fixture
def faults(tiny_folder: Path) -> Faults:
    def faults() -> list[str]:
        return [fault.removeprefix(f"{tiny_folder}/") for fault in static.faults(settings.load(tiny_folder))]

    return faults


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_sound_folder_has_none(faults: Faults) -> None:
    assert faults() == []


def test_every_file_s_faults_are_told(faults: Faults, tiny_folder: Path) -> None:
    edit(tiny_folder / "problem.py", "return [8]", "return []")
    edit(tiny_folder / "model_new.py", "def __init__(self, size)", "def __init__(self, size, more)")
    edit(tiny_folder / "plain.py", "out, x.shape[0],", "out,")
    edit(tiny_folder / "gpu.cu", "return BLOCK_SIZE * 0", "return 0")
    edit(tiny_folder / "gpu.py", "def gpu", "def other")
    found = faults()
    assert len(found) == 5
    for start in (
        "plain.py:9: scale takes 5 arguments",
        "gpu.cu:1: knob block_size of variant gpu does nothing",
        "gpu.py: has no function gpu(model, kernel, ...); it defines other",
        "problem.py:18: get_init_inputs returns 0 values",
        "model_new.py:6: ModelNew takes (self, size, more), Model in problem.py (self, size)",
    ):
        assert any(fault.startswith(start) for fault in found), (start, found)


def test_a_constraint_that_raises_is_named_with_its_line(faults: Faults, tiny_folder: Path) -> None:
    edit(tiny_folder / "template.py", "k.unroll <= f.C", "k.unrolled <= f.C")
    (fault,) = faults()
    assert fault.startswith("template.py:24: variant plain: constraint 'unroll<=C' raised AttributeError")


def test_a_constraint_that_leaves_nothing_is_named(faults: Faults, tiny_folder: Path) -> None:
    edit(tiny_folder / "template.py", "k.unroll <= f.C", "k.unroll > f.C")
    (fault,) = faults()
    assert "variant plain: constraint 'unroll<=C' rejects" in fault and "[[4, 8]]" in fault


def test_axes_that_do_not_take_the_problem_s_own_workload_are_named(faults: Faults, tiny_folder: Path) -> None:
    edit(tiny_folder / "template.py", "if c != init[0]", "if c == init[0]")
    (fault,) = faults()
    assert "does not take init [8] with shapes [[4, 8]]: wants an input (N, size)" in fault


def test_python_of_template_py_has_its_line(faults: Faults, tiny_folder: Path) -> None:
    edit(tiny_folder / "template.py", "VARIANTS = (", "VARIANTS = (1 / 0,")
    (fault,) = faults()
    assert fault == "template.py:12: ZeroDivisionError: division by zero"


def test_a_folder_that_is_no_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        static.faults(settings.load(tmp_path))


def test_a_host_that_takes_other_inputs_than_forward_is_named(faults: Faults, tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    assert faults() == []
    edit(tiny_folder / "plain.py", "def plain(model, kernel, x", "def plain(model, kernel, y, x")
    (fault,) = faults()
    assert "plain takes 2 inputs after model and kernel; forward in problem.py takes 1" in fault
