"""What the text of a problem file says without being run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny import TINY

from tuner import problem, template
from tuner.problem import static


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problem.py"
    path.write_text(TINY["problem.py"])
    return path


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_sound_file_has_no_faults(file: Path) -> None:
    assert static.faults(file) == []
    assert static.own_workload(file) == ([8], [(4, 8)])


@pytest.mark.parametrize("name", template.shipped_names())
def test_the_workload_in_the_text_is_the_one_that_running_it_gives(name: str) -> None:
    path = template.shipped_folder() / name / "problem.py"
    run, read = problem.default_workload(problem.load(path)), static.own_workload(path)
    assert static.faults(path) == []
    assert read is not None
    assert (tuple(read[1]), str(list(run.init)).replace("(", "[").replace(")", "]").replace(",]", "]")) == (
        run.shapes,
        str(read[0]),
    )


def test_every_part_that_is_missing_is_named(file: Path) -> None:
    edit(file, "class Model(", "class Other(")
    edit(file, "def get_inputs", "def inputs")
    assert [fault.split(": ")[1].split(";")[0] for fault in static.faults(file)] == [
        "defines no Model",
        "defines no get_inputs",
    ]


def test_a_part_may_be_imported_or_assigned(file: Path) -> None:
    edit(file, "def get_init_inputs():\n    return [8]", "get_init_inputs = lambda: [8]")
    assert static.faults(file) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return [8]", "return [8, 9]", "18: get_init_inputs returns 2 values; Model.__init__ takes 1"),
        ("forward(self, x)", "forward(self, x, y)", "14: get_inputs returns 1 values; Model.forward takes 2"),
        ("(self, size)", "(self, size, a, b=1)", "18: get_init_inputs returns 1 values; Model.__init__ takes 2 to 3"),
        ("return x * self", "return x *", "11: SyntaxError: "),
    ],
)
def test_a_fault_has_its_line(file: Path, old: str, new: str, says: str) -> None:
    edit(file, old, new)
    (fault,) = static.faults(file)
    assert fault.startswith(f"{file}:{says}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert static.faults(tmp_path / "problem.py") == [f"{tmp_path / 'problem.py'}: no such problem file"]


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("n, c = 3, 4\n", [(3, 4)]),
        ("n = 2 * 3\nc = -(-7 // 2)\n", [(6, 4)]),
        ("n = int('3')\nc = 4\n", None),
        ("import os\nn = 3\nc = 4\n", [(3, 4)]),
    ],
)
def test_sizes_are_read_where_they_are_plain_numbers(
    file: Path, text: str, shapes: list[tuple[int, ...]] | None
) -> None:
    edit(file, "torch.rand(4, 8)", "torch.rand((n, c)).half()")
    file.write_text(text + file.read_text())
    assert static.own_workload(file) == (([8], shapes) if shapes else None)


def test_a_reference_that_is_still_to_be_written_is_said(file: Path) -> None:
    file.write_text(
        "class Model:\n    def forward(self, x):\n        raise NotImplementedError('write')\n"
        "def get_inputs():\n    return [1]\ndef get_init_inputs():\n    return []\n"
    )
    said = "the reference is still to be written: Model.forward raises NotImplementedError"
    assert static.faults(file) == [f"{file}:3: {said}"]
