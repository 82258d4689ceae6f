"""Exported files: whole, checked before they are there, and described by their records."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
from helpers.tiny import MakeRecord, changed, text_of

from tuner import template
from tuner.errors import TunerError
from tuner.export import kernelbench
from tuner.space import Branch
from tuner.template import Template, render


def fine(path: Path) -> None:
    """A verification that holds."""


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "submission.py"


def test_a_single_winner_is_exported_byte_for_byte(tiny: Template, make_record: MakeRecord, out: Path) -> None:
    record = make_record()
    assert kernelbench.compose(tiny, [record]) == text_of(tiny, record)
    kernelbench.write(out, tiny, [record], fine)
    assert out.read_bytes() == text_of(tiny, record).text.encode()


def test_the_description_lies_beside_it(tiny: Template, make_record: MakeRecord, out: Path) -> None:
    assert kernelbench.write(out, tiny, [make_record()], fine) == out.with_suffix(".md")
    assert files(out.parent) == ["submission.md", "submission.py"]


def test_several_shapes_make_one_file_that_dispatches(tiny: Template, make_record: MakeRecord) -> None:
    text = kernelbench.compose(tiny, [make_record(shape=(n, 8)) for n in (4, 16)]).text
    assert text.count("    Kernel(\n") == 2
    assert "((4, 8),)" in text
    assert "((16, 8),)" in text


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"precision": "ieee"}, "precision"), ({"device_name": "Another"}, "device"), ({"shape": (4, 16)}, "init")],
)
def test_what_cannot_stand_in_one_file_is_refused(
    tiny: Template, make_record: MakeRecord, changed: dict[str, Any], name: str
) -> None:
    with pytest.raises(kernelbench.ExportError, match=f"one file takes winners of one {name}"):
        kernelbench.compose(tiny, [make_record(), make_record(**changed)])


def test_no_winner_at_all_is_refused(tiny: Template) -> None:
    with pytest.raises(kernelbench.ExportError, match="no winner"):
        kernelbench.compose(tiny, [])


@pytest.mark.parametrize("low", [1.0, 0.8])
def test_a_loser_is_refused_unless_forced(tiny: Template, make_record: MakeRecord, out: Path, low: float) -> None:
    loser = make_record(eager_low=low)
    with pytest.raises(
        kernelbench.ExportError, match=rf"4x8: its speed-up over eager, 2.000 \[{low:.3f}, 2.100\], does not"
    ):
        kernelbench.write(out, tiny, [make_record(shape=(16, 8)), loser], fine)
    assert files(out.parent) == []
    kernelbench.write(out, tiny, [loser], fine, force=True)
    assert out.exists()


def test_a_winner_never_measured_against_eager_is_refused(tiny: Template, make_record: MakeRecord, out: Path) -> None:
    record = changed(make_record(), baselines=())
    with pytest.raises(kernelbench.ExportError, match="was not measured against eager"):
        kernelbench.write(out, tiny, [record], fine)


def test_the_file_is_verified_under_its_name_before_it_is_there(
    tiny: Template, make_record: MakeRecord, out: Path
) -> None:
    seen: list[tuple[str, str]] = []

    def verify(path: Path) -> None:
        assert not out.exists()
        seen.append((path.name, path.read_text()))

    record = make_record()
    kernelbench.write(out, tiny, [record], verify)
    assert seen == [("submission.py", text_of(tiny, record).text)]


def test_a_file_that_does_not_hold_is_not_written_and_the_former_stays(
    tiny: Template, make_record: MakeRecord, out: Path
) -> None:
    out.write_text("former")

    def verify(path: Path) -> NoReturn:
        raise TunerError("wrong")

    with pytest.raises(TunerError, match="wrong"):
        kernelbench.write(out, tiny, [make_record()], verify)
    assert files(out.parent) == ["submission.py"]
    assert out.read_text() == "former"


@pytest.mark.parametrize(
    ("name", "said"), [("a.txt", r"ends in \.py"), ("nowhere/a.py", "no such folder"), ("folder.py", "is a folder")]
)
def test_an_output_that_cannot_be_is_one_line(
    tiny: Template, make_record: MakeRecord, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(kernelbench.ExportError, match=said):
        kernelbench.write(tmp_path / name, tiny, [make_record()], fine)


def test_every_figure_of_the_description_is_the_record_s(tiny: Template, make_record: MakeRecord, out: Path) -> None:
    record = make_record(latency_ms=0.9731)
    text = kernelbench.write(out, tiny, [record], fine).read_text()
    for figure in (
        "0.9731",
        "| PyTorch eager | 2 | 1.9 to 2.1 | 2.000 | 1.900 to 2.100 |",
        "1.25 times",
        "(8 allowed)",
    ):
        assert figure in text
    for fact in (
        "`plain`: one loop",
        "Test CPU, 2 cores",
        "| unroll | 4 |",
        "4x8 float32",
        "0.5 ms; ModelNew takes 1.95",
    ):
        assert fact in text
    assert "Precision class `match`" in text
    assert "PyTorch 2.9.1+cpu, compiler gcc 12.2.0" in text
    assert "2026-01-02T03:04:05Z" in text


def test_the_description_has_a_part_for_each_shape(tiny: Template, make_record: MakeRecord, out: Path) -> None:
    text = kernelbench.write(out, tiny, [make_record(shape=(n, 8)) for n in (4, 16)], fine).read_text()
    assert re.findall(r"^## Input (\S+)", text, re.MULTILINE) == ["4x8", "16x8"]
    assert "holds 2 tuned kernels" in text


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("try:\n  x\nfinally:\n  y", "a try block"),
        ("except ValueError", "an except clause"),
        ("def f(): pass", "the word `pass`"),
        ('"""one pass over it"""', "the word `pass`"),
        ("/* second pass */", "the word `pass`"),
        ("import threading", "threads"),
        ("class X(torch.Tensor):", "a tensor subclass"),
        ("torch.cuda.Event.record = f", "an assignment to a timer"),
    ],
)
def test_what_kernelbench_s_static_checker_refuses(text: str, refused: str) -> None:
    assert any(refused in fault for fault in kernelbench.static_faults(text))


@pytest.mark.parametrize(
    "text", ["x # a pass, try: except", "x // pass", "bypass = passed", "#define pass", "y = retry"]
)
def test_what_it_does_not_refuse(text: str) -> None:
    assert kernelbench.static_faults(text) == []


def test_a_template_that_it_would_refuse_is_not_exported(
    tiny: Template, tiny_folder: Path, make_record: MakeRecord
) -> None:
    (tiny_folder / "plain.cpp").write_text("/* the first pass */\n")
    with pytest.raises(kernelbench.ExportError, match="static checker refuses the word `pass`"):
        kernelbench.compose(tiny, [make_record()])


SHIPPED = [
    (name, variant.name)
    for name in template.shipped_names()
    for variant in template.load(template.shipped_folder() / name).variants
]


@pytest.mark.parametrize(("name", "variant_name"), SHIPPED)
def test_every_shipped_variant_gets_through_kernelbench_s_static_checker(name: str, variant_name: str) -> None:
    loaded = template.load(template.shipped_folder() / name)
    variant = loaded.variant(variant_name)
    point = Branch(variant.name, variant.knobs).default
    text = render.candidate(loaded, [render.Tuned(point, ((1,),), "float32", "a device", "match")]).text
    assert kernelbench.static_faults(text) == []
    ast.parse(text)
    if variant.device == "cuda":  # what its check of CUDA submissions looks for
        code = "\n".join(re.split(r"#|//", line)[0] for line in text.split("\n"))
        assert "__global__" in code
        assert re.search(r"\b(threadIdx|blockIdx|blockDim|gridDim)\.", code)
        assert "load_inline" in code
