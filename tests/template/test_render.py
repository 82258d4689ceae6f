"""Candidates: pure text, whole, and the same for the same arguments."""

from __future__ import annotations

import ast
import itertools

import pytest

from tuner import template
from tuner.errors import TemplateError
from tuner.space import Point
from tuner.template import render
from tuner.template.shared import inline_includes


def tuned(shape=(4, 8), **knobs):
    values = {"unroll": 4, "order": "columns", "fast": True, "threads": 1, **knobs}
    return render.Tuned(Point("plain", tuple(values.items())), (shape,), "float32", "Test CPU", "match")


def test_equal_arguments_give_equal_bytes(tiny, tiny_folder):
    assert render.candidate(tiny, [tuned()]) == render.candidate(template.load(tiny_folder), [tuned()])


def test_the_candidate_states_where_it_was_tuned(tiny):
    head = ast.get_docstring(ast.parse(render.candidate(tiny, [tuned()]).text))
    assert "Tuned for 4x8 float32 on Test CPU, precision class match" in head
    assert "plain unroll=4 order=columns fast=1 threads=1" in head


def test_the_candidate_defines_and_does_nothing_else(tiny):
    tree = ast.parse(render.candidate(tiny, [tuned()]).text)
    kinds = (ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    assert all(isinstance(node, kinds) for node in tree.body)
    assert [n for n in tree.body if isinstance(n, ast.Expr)] == tree.body[:1], "only the docstring"


def test_the_candidate_imports_only_pytorch_and_the_standard_library(tiny):
    tree = ast.parse(render.candidate(tiny, [tuned()]).text)
    modules = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert modules == {"ctypes", "hashlib", "inspect", "math", "os", "tempfile", "torch"}


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"unroll": 8}, "#define UNROLL 8"),
        ({"fast": False}, "#define FAST 0"),
        ({"fast": True}, "#define FAST 1"),
        ({"order": "columns"}, "#define ORDER_ROWS 0\n#define ORDER_COLUMNS 1\n#define ORDER ORDER_COLUMNS"),
    ],
)
def test_a_knob_becomes_a_define_ahead_of_the_source(tiny, knobs, line):
    source = render.kernel_source(tiny, tiny.variant("plain"), tuned(**knobs).point)
    assert line + "\n" in source[: source.index("static inline")]


def test_a_knob_that_only_the_host_reads_is_no_define_so_points_share_a_binary(tiny):
    one, two = (render.kernel_source(tiny, tiny.variant("plain"), tuned(threads=n).point) for n in (1, 2))
    assert one == two


def test_different_points_give_different_texts(tiny):
    texts = {render.candidate(tiny, [tuned(unroll=u, threads=t)]).sha256 for u, t in itertools.product((1, 2), (1, 2))}
    assert len(texts) == 4


def test_includes_are_inlined_once(tiny, tiny_folder):
    source = tiny_folder / "plain.cpp"
    source.write_text('#include "common.hpp"\n' + source.read_text())
    text = inline_includes(source)
    assert text.count("static inline float times") == 1
    assert "#include" not in text
    assert "#pragma once" not in text


def test_a_missing_include_is_named(tiny_folder):
    (tiny_folder / "common.hpp").unlink()
    with pytest.raises(TemplateError, match=r"common\.hpp.*no such file"):
        inline_includes(tiny_folder / "plain.cpp")


def test_angle_includes_stay(tiny_folder):
    (tiny_folder / "plain.cpp").write_text("#include <cmath>\n")
    assert inline_includes(tiny_folder / "plain.cpp") == "#include <cmath>\n"


def test_a_source_with_three_single_quotes_is_refused(tiny, tiny_folder):
    (tiny_folder / "plain.cpp").write_text("// '''\n")
    with pytest.raises(TemplateError, match="three single quotes"):
        render.candidate(tiny, [tuned()])


def test_editor_imports_of_a_host_file_are_left_out(tiny):
    assert "Host side of plain" not in render.candidate(tiny, [tuned()]).text


def test_several_kernels_make_one_file_with_one_host_function(tiny):
    text = render.candidate(tiny, [tuned(), tuned((16, 8), unroll=1)]).text
    assert text.count("def plain(") == 1
    assert text.count("    Kernel(\n") == 2


@pytest.mark.parametrize("name", ["problem.py", "model_new.py", "plain.py", "plain.cpp", "common.hpp"])
def test_the_digest_follows_every_file_of_the_variant(tiny, tiny_folder, name):
    before = render.digest(tiny, tiny.variant("plain"))
    with (tiny_folder / name).open("a") as file:
        file.write("# changed\n" if name.endswith(".py") else "// changed\n")
    assert render.digest(tiny, tiny.variant("plain")) != before


def test_the_digest_does_not_follow_another_variant(tiny, tiny_folder):
    before = render.digest(tiny, tiny.variant("plain"))
    (tiny_folder / "gpu.cu").write_text("// changed\n")
    assert render.digest(tiny, tiny.variant("plain")) == before
