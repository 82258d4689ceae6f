"""Reading template folders and making spaces of them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from tuner import template
from tuner.errors import ConfigError, TemplateError
from tuner.space import Constraint, Facts, Knob

CPU = {"device": "cpu", "cores": 2, "capability": (0, 0), "shared_memory_per_block": 0}


def facts(tiny: template.Template, shape: tuple[int, ...] = (4, 8)) -> Facts:
    return tiny.facts((8,), [shape], CPU)


def test_load_reads_the_folder(tiny: template.Template, tiny_folder: Path) -> None:
    assert tiny.name == "tiny"
    assert [v.name for v in tiny.variants] == ["plain", "gpu"]
    assert tiny.problem == tiny_folder / "problem.py"


def test_every_shipped_template_loads() -> None:
    for name in template.shipped_names():
        assert template.load(template.shipped_folder() / name).name == name


@pytest.mark.parametrize("name", ["problem.py", "plain.py", "plain.cpp"])
def test_a_missing_part_is_named(tiny_folder: Path, name: str) -> None:
    (tiny_folder / name).unlink()
    with pytest.raises(TemplateError, match=name):
        template.load(tiny_folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("def axes(", "SyntaxError"),
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("VARIANTS = missing", "missing"),
        ("VARIANTS = ()", "wants a function axes"),
        ("def axes(i, s): ...\nVARIANTS = (1,)", "wants Variant values"),
        ("from tuner.space import Knob\nKnob('X', (1,), 1)", "lower-case identifier"),
    ],
)
def test_a_broken_template_file_is_one_line_with_its_path(tiny_folder: Path, text: str, fault: str) -> None:
    (tiny_folder / "template.py").write_text(text)
    with pytest.raises(TemplateError, match=fault) as caught:
        template.load(tiny_folder)
    assert str(tiny_folder / "template.py") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my kernel", "my-kernel", "kérnel", "核", "a.b"])
def test_a_folder_s_name_that_no_compiler_takes_is_refused(tiny_folder: Path, name: str) -> None:
    folder = tiny_folder.rename(tiny_folder.with_name(name))
    with pytest.raises(TemplateError, match=rf"{re.escape(name)}: a template folder's name has letters, digits and _"):
        template.load(folder)


# ---- facts and spaces -------------------------------------------------------------------------------


def test_facts_join_axes_and_limits(tiny: template.Template) -> None:
    assert (facts(tiny).C, facts(tiny).cores) == (8, 2)


def test_a_workload_that_axes_refuses_is_a_template_error(tiny: template.Template) -> None:
    with pytest.raises(TemplateError, match=r"does not take init \[8\].*wants an input"):
        facts(tiny, (4, 9))


def test_a_space_has_the_variants_of_its_device(tiny: template.Template) -> None:
    assert [b.variant for b in tiny.space("cpu", facts(tiny)).branches] == ["plain"]


def test_a_variant_beyond_the_capability_is_left_out(tiny: template.Template) -> None:
    old = tiny.facts((8,), [(4, 8)], {**CPU, "device": "cuda", "capability": (7, 5)})
    with pytest.raises(ConfigError, match="no variant for this cuda device"):
        tiny.space("cuda", old)


def test_a_variant_that_takes_other_dtypes_is_left_out(tiny: template.Template) -> None:
    half = dataclasses.replace(tiny.variant("plain"), name="half", dtypes=("float16", "bfloat16"))
    both = dataclasses.replace(tiny, variants=(*tiny.variants, half))
    for dtypes, left in ((("float32",), ["plain"]), (("bfloat16", "bfloat16"), ["half"])):
        assert [b.variant for b in both.space("cpu", facts(both), dtypes=dtypes).branches] == left


def test_dtypes_that_no_variant_takes_are_refused_in_one_line(tiny: template.Template) -> None:
    tiny.require_takes(["float32", "float32"], None, "cpu")
    with pytest.raises(TemplateError) as caught:
        tiny.require_takes(["float16", "int64"], None, "cpu")
    said = "template tiny: no variant takes inputs of float16, int64: plain takes float32, all floating-point"
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("written_for", "inputs", "taken"),
    [
        (("float32",), ("float32", "int64"), True),
        (("float32",), ("int64",), True),
        (("float32",), ("float32", "bool", "uint8"), True),
        (("float32", "int64"), ("float32", "int64"), True),
        (("float32", "int64"), ("float32", "int32"), False),
        (("float16", "bfloat16"), ("float16", "bfloat16"), False),
        (("float16", "bfloat16"), ("bfloat16", "int64"), True),
        (("int64",), ("float32", "int64"), False),
    ],
)
def test_integers_come_as_they_are_unless_some_are_named(
    tiny: template.Template, written_for: tuple[str, ...], inputs: tuple[str, ...], taken: bool
) -> None:
    assert dataclasses.replace(tiny.variant("plain"), dtypes=written_for).takes(inputs) is taken


def test_floating_point_inputs_are_of_several_dtypes_where_a_variant_says_so(tiny: template.Template) -> None:
    mixed = dataclasses.replace(tiny.variant("plain"), dtypes=("bfloat16", "float32"), mixed=True)
    assert mixed.takes(("bfloat16", "float32", "int64")) and mixed.takes(("float32",))
    assert not mixed.takes(("bfloat16", "float16"))
    with pytest.raises(TemplateError, match="variant plain: mixed is True or False, not 1"):
        dataclasses.replace(mixed, mixed=1)  # type: ignore[arg-type]


def test_narrowing_keeps_the_default_where_it_can(tiny: template.Template) -> None:
    narrowed = tiny.space("cpu", facts(tiny), narrowing={"unroll": [8, 2], "order": ["columns"]})
    knobs = {knob.name: knob for knob in narrowed.branches[0].knobs}
    assert (knobs["unroll"].choices, knobs["unroll"].default) == ((2, 8), 2)
    assert (knobs["order"].choices, knobs["order"].default) == (("columns",), "columns")


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"variants": ["nope"]}, "variants: 'nope' is not one of plain, gpu"),
        ({"variants": ["gpu"]}, "no variant for this cpu device"),
        ({"narrowing": {"nope": [1]}}, "'nope' is not a knob of tiny; it has block_size, fast"),
        ({"narrowing": {"unroll": [3]}}, "unroll: 3 is not one of"),
        ({"narrowing": {"fast": [1]}}, "fast: 1 is not one of"),
        ({"narrowing": {"unroll": []}}, "the list is empty"),
    ],
)
def test_a_wrong_request_is_one_line(tiny: template.Template, asked: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        tiny.space("cpu", facts(tiny), **asked)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"variants": ["gpu"], "device": "cpu"}, "template tiny has no variant for this cpu device among those asked"),
        ({"variants": ["plain"], "device": "cuda:1"}, "template tiny has no variant for this cuda device"),
        ({"narrowing": {"unroll": [16]}, "device": "cpu"}, "knobs: no variant is left: plain has unroll [1, 2, 4, 8]"),
        ({"variants": ["plain"], "narrowing": {"unroll": [16]}}, "knobs: no variant is left: plain has unroll"),
        ({"narrowing": {"unroll": [2]}, "variants": ["wide"]}, "knobs: no variant is left: wide has unroll [16, 32]"),
    ],
)
def test_what_a_config_alone_rules_out_is_refused_before_a_search(
    tiny: template.Template, asked: dict[str, Any], fault: str
) -> None:
    wide = dataclasses.replace(tiny.variant("gpu"), name="wide", knobs=(Knob("unroll", (16, 32), 16),))
    both = dataclasses.replace(tiny, variants=(*tiny.variants, wide))
    with pytest.raises(ConfigError, match=re.escape(fault)):
        both.check_names(**asked)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"variants": ["gpu"]},
        {"variants": ["gpu"], "device": "cuda:1"},
        {"variants": ["plain"], "device": "cpu"},
        {"narrowing": {"unroll": [2]}, "device": "cpu"},
        {"narrowing": {"block_size": [64]}, "device": "cpu"},  # of the other device's variant: `--device` needs no edit
        {"variants": ["plain", "gpu"], "narrowing": {"block_size": [64]}},
    ],
)
def test_what_only_the_machine_can_rule_out_is_not_refused(tiny: template.Template, asked: dict[str, Any]) -> None:
    tiny.check_names(**asked)


def test_a_variant_that_knows_none_of_a_knobs_choices_is_left_out(tiny: template.Template) -> None:
    other = dataclasses.replace(tiny.variant("plain"), name="other", knobs=(Knob("unroll", (16, 32), 16),))
    both = dataclasses.replace(tiny, variants=(*tiny.variants, other))
    wide = tiny.facts((64,), [(4, 64)], CPU)
    for wanted, left in (([16], ["other"]), ([2, 16], ["plain", "other"])):
        assert [b.variant for b in both.space("cpu", wide, narrowing={"unroll": wanted}).branches] == left


def test_a_space_without_a_point_is_refused(tiny: template.Template) -> None:
    small = tiny.facts((2,), [(4, 2)], CPU)
    with pytest.raises(ConfigError, match="no point is left"):
        tiny.space("cpu", small, narrowing={"unroll": [4, 8]})


def test_a_huge_space_without_a_point_is_refused_in_bounded_work(tiny: template.Template) -> None:
    """10^8 points; the line names the constraint."""
    knobs = tuple(Knob(f"k{i}", tuple(range(100)), 50) for i in range(4))
    never = Constraint("k0*k1<0", lambda k, f: k.k0 * k.k1 < 0)
    huge = dataclasses.replace(tiny.variant("plain"), knobs=knobs, constraints=(never,))
    impossible = dataclasses.replace(tiny, variants=(huge,))
    with pytest.raises(ConfigError, match=r"no point is left .* constraint 'k0\*k1<0' rejects 1000 of 1000"):
        impossible.space("cpu", tiny.facts((64,), [(4, 64)], CPU))


def test_find_takes_a_path(tiny_folder: Path) -> None:
    assert template.find("./tiny", tiny_folder.parent).folder == tiny_folder.resolve()


@pytest.mark.parametrize("name", ["nope", "a b", "../gn_mean", "./", "gn_mean/.."])
def test_find_refuses_what_is_no_template(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="template: "):
        template.find(name, tmp_path)
