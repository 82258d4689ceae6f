"""Host files that import files of include/: a candidate carries these, once each, and the imports not at all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tuner import template
from tuner.errors import TemplateError
from tuner.space import Point
from tuner.template import render
from tuner.template.hosts import host_files, returns_several

POINT = Point("plain", (("unroll", 4), ("order", "rows"), ("fast", True), ("threads", 1)))


@pytest.fixture
def include(tiny_folder: Path) -> Path:
    """The tiny template's host calls `first`, which lies in include/ and calls `second` from there."""
    folder = tiny_folder.parent / "include" / "products"
    folder.mkdir(parents=True)
    (folder / "first_part.py").write_text(
        "import torch\nfrom second_part import SECOND, second\n\n\ndef first(x):\n    return second(x) + SECOND\n"
    )
    (folder / "second_part.py").write_text("import torch\n\nSECOND = 2\n\n\ndef second(x):\n    return x\n")
    host = tiny_folder / "plain.py"
    host.write_text(f"from first_part import first\nfrom second_part import second\n{host.read_text()}")
    return folder


def text_of(folder: Path) -> str:
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    return render.candidate(template.load(folder), [tuned]).text


def test_what_a_host_imports_stands_ahead_of_it_each_once(tiny_folder: Path, include: Path) -> None:
    names = [n.name for n in ast.parse(text_of(tiny_folder)).body if isinstance(n, ast.FunctionDef)]
    assert names[-3:] == ["second", "first", "plain"]
    assert names.count("second") == 1


def test_no_import_of_it_is_left(tiny_folder: Path, include: Path) -> None:
    path = include / "first_part.py"
    path.write_text(path.read_text() + "\n\nfrom second_part import second  # below a definition\n")
    text = text_of(tiny_folder)
    assert "second_part" not in text and "first_part" not in text


def test_the_digest_follows_what_is_imported(tiny_folder: Path, include: Path) -> None:
    def digest() -> str:
        tiny = template.load(tiny_folder)
        return render.digest(tiny, tiny.variant("plain"))

    before = digest()
    (include / "second_part.py").write_text("SECOND = 3\n\n\ndef second(x):\n    return x\n")
    assert digest() != before


def test_the_shipped_include_is_found(tiny_folder: Path) -> None:
    host = tiny_folder / "plain.py"
    host.write_text(f"from convolution import convolution\n{host.read_text()}")
    assert "def convolution(" in text_of(tiny_folder)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("from second_part import third", "plain.py:1: second_part.py defines no third"),
        ("from second_part import second as s", "plain.py:1: from second_part import takes names as they are"),
        ("from second_part import *", "plain.py:1: from second_part import takes names as they are"),
        ("import second_part", "plain.py:1: import second_part: a candidate has its names alone"),
    ],
)
def test_an_import_that_a_candidate_cannot_carry(tiny_folder: Path, include: Path, line: str, says: str) -> None:
    host = tiny_folder / "plain.py"
    host.write_text(f"{line}\n{host.read_text()}")
    with pytest.raises(TemplateError, match=says.replace("*", r"\*")):
        template.load(tiny_folder)


def test_an_import_inside_a_function_is_refused(tiny_folder: Path, include: Path) -> None:
    path = include / "first_part.py"
    path.write_text("def first(x):\n    from second_part import second\n    return second(x)\n")
    with pytest.raises(TemplateError, match=r"first_part.py:2: from second_part import stands at the top"):
        template.load(tiny_folder)


def test_files_that_import_each_other_are_refused(tiny_folder: Path, include: Path) -> None:
    path = include / "second_part.py"
    path.write_text(f"from first_part import first\n{path.read_text()}")
    with pytest.raises(TemplateError, match=r"first_part.py imports second_part.py imports first_part.py"):
        template.load(tiny_folder)


def test_a_knob_that_only_an_imported_file_reads_is_used(tiny_folder: Path, include: Path) -> None:
    source = tiny_folder / "plain.cpp"
    source.write_text(source.read_text().replace("return UNROLL * FAST", "return FAST"))
    with pytest.raises(TemplateError, match="knob unroll of variant plain does nothing"):
        template.load(tiny_folder)
    path = include / "second_part.py"
    path.write_text(path.read_text().replace("return x", 'return x * kernel.knobs["unroll"]'))
    template.load(tiny_folder)


def test_a_launch_in_an_imported_file_is_held_to_the_signature(tiny_folder: Path, include: Path) -> None:
    path = include / "second_part.py"
    path.write_text("SECOND = 1\n\n\ndef second(kernel):\n    return kernel.launch('scale', 1, 2)\n")
    with pytest.raises(TemplateError, match=r"second_part.py:5: scale takes 5 arguments"):
        template.load(tiny_folder)


def test_hosts_that_share_a_file_carry_it_once(tiny_folder: Path, include: Path) -> None:
    (tiny_folder / "other.py").write_text(
        "from second_part import second\n\n\ndef other(model, kernel, x):\n    pass\n"
    )
    names = [path.stem for path in host_files(tiny_folder, ["plain", "other"])]
    assert names == ["second_part", "first_part", "plain", "other"]


@pytest.mark.parametrize(
    ("file", "old", "new", "several"),
    [
        ("plain.py", "return out", "return out", False),
        ("plain.py", "return out", "return out, x", True),
        ("plain.py", "return out", "if threads:\n        return [out, x]\n    return out", True),
        ("plain.py", "return out", "def both():\n        return out, x\n\n    return both()[0]", False),
        ("problem.py", "return x * self.weight", "return x, x * self.weight", True),
    ],
)
def test_several_results_are_seen_where_they_are_returned(
    tiny_folder: Path, file: str, old: str, new: str, several: bool
) -> None:
    path = tiny_folder / file
    path.write_text(path.read_text().replace(old, new))
    assert returns_several(tiny_folder, "plain") is several
