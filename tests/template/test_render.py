"""Candidates: pure text, whole, and the same for the same arguments."""

from __future__ import annotations

import ast
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner import template
from tuner.errors import TemplateError
from tuner.space import Choice, Point
from tuner.template import render


def tuned(shape: tuple[int, ...] = (4, 8), **knobs: Choice) -> render.Tuned:
    values: dict[str, Choice] = {"unroll": 4, "order": "columns", "fast": True, "threads": 1, **knobs}
    return render.Tuned(Point("plain", tuple(values.items())), (shape,), "float32", "Test CPU", "match")


def test_equal_arguments_give_equal_bytes(tiny: template.Template, tiny_folder: Path) -> None:
    assert render.candidate(tiny, [tuned()]) == render.candidate(template.load(tiny_folder), [tuned()])


def test_the_candidate_states_where_it_was_tuned(tiny: template.Template) -> None:
    head = ast.get_docstring(ast.parse(render.candidate(tiny, [tuned()]).text)) or ""
    assert "Tuned for 4x8 float32 on Test CPU, precision class match" in head
    assert "plain unroll=4 order=columns fast=1 threads=1" in head


def test_the_candidate_defines_and_does_nothing_else(tiny: template.Template) -> None:
    tree = ast.parse(render.candidate(tiny, [tuned()]).text)
    kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    assert all(isinstance(node, kinds) for node in tree.body)
    assert [n for n in tree.body if isinstance(n, ast.Expr)] == tree.body[:1], "only the docstring"


def test_the_candidate_imports_only_pytorch_and_the_standard_library(tiny: template.Template) -> None:
    tree = ast.parse(render.candidate(tiny, [tuned()]).text)
    modules = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert modules == {
        "copy",
        "ctypes",
        "functools",
        "hashlib",
        "inspect",
        "math",
        "os",
        "tempfile",
        "torch",
        "weakref",
    }


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"unroll": 8}, "#define UNROLL 8"),
        ({"fast": False}, "#define FAST 0"),
        ({"fast": True}, "#define FAST 1"),
        ({"order": "columns"}, "#define ORDER_ROWS 0\n#define ORDER_COLUMNS 1\n#define ORDER ORDER_COLUMNS"),
    ],
)
def test_a_knob_becomes_a_define_ahead_of_the_source(tiny: template.Template, knobs: dict[str, Any], line: str) -> None:
    source = render.kernel_source(tiny, tiny.variant("plain"), tuned(**knobs).point)
    assert line + "\n" in source[: source.index("static inline")]


def test_a_knob_that_only_the_host_reads_is_no_define_so_points_share_a_binary(tiny: template.Template) -> None:
    one, two = (render.kernel_source(tiny, tiny.variant("plain"), tuned(threads=n).point) for n in (1, 2))
    assert one == two


@pytest.mark.parametrize(("dtype", "c_type"), [("float32", "float"), ("float16", "half"), ("bfloat16", "bfloat16")])
def test_a_source_of_any_dtype_gets_the_tuned_one(
    tiny: template.Template, tiny_folder: Path, dtype: str, c_type: str
) -> None:
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write('#include "numerics/element.hpp"\nextern "C" int each(const Element* x) { return x == nullptr; }\n')
    text = render.candidate(tiny, [replace(tuned(), dtype=dtype)]).text
    assert f"source=r'''\n#define TUNER_DTYPE {c_type}\n" in text
    assert f"'each': 'int({c_type}* x)'" in text


def test_a_source_that_names_no_dtype_gets_none(tiny: template.Template) -> None:
    assert "TUNER_DTYPE" not in render.candidate(tiny, [tuned()]).text


def test_a_dtype_that_no_element_has_is_refused(tiny: template.Template, tiny_folder: Path) -> None:
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write('#include "numerics/element.hpp"\n')
    with pytest.raises(TemplateError, match="TUNER_DTYPE is one of float32, float16, bfloat16, float64"):
        render.candidate(tiny, [replace(tuned(), dtype="int8")])


def test_different_points_give_different_texts(tiny: template.Template) -> None:
    texts = {render.candidate(tiny, [tuned(unroll=u, threads=t)]).sha256 for u, t in itertools.product((1, 2), (1, 2))}
    assert len(texts) == 4


def test_a_source_with_three_single_quotes_is_refused(tiny: template.Template, tiny_folder: Path) -> None:
    (tiny_folder / "plain.cpp").write_text("// '''\n")
    with pytest.raises(TemplateError, match="three single quotes"):
        render.candidate(tiny, [tuned()])


def test_editor_imports_of_a_host_file_are_left_out(tiny: template.Template) -> None:
    assert "Host side of plain" not in render.candidate(tiny, [tuned()]).text


def test_several_kernels_make_one_file_with_one_host_function(tiny: template.Template) -> None:
    text = render.candidate(tiny, [tuned(), tuned((16, 8), unroll=1)]).text
    assert text.count("def plain(") == 1
    assert text.count("    Kernel(\n") == 2


@pytest.mark.parametrize("name", ["problem.py", "model_new.py", "plain.py", "plain.cpp", "common.hpp"])
def test_the_digest_follows_every_file_of_the_variant(tiny: template.Template, tiny_folder: Path, name: str) -> None:
    before = render.digest(tiny, tiny.variant("plain"))
    with (tiny_folder / name).open("a") as file:
        file.write("# changed\n" if name.endswith(".py") else "// changed\n")
    assert render.digest(tiny, tiny.variant("plain")) != before


def test_the_digest_does_not_follow_another_variant(tiny: template.Template, tiny_folder: Path) -> None:
    before = render.digest(tiny, tiny.variant("plain"))
    (tiny_folder / "gpu.cu").write_text("// changed\n")
    assert render.digest(tiny, tiny.variant("plain")) == before
