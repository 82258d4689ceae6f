"""Reading template folders and making spaces of them."""

from __future__ import annotations

import dataclasses

import pytest

from tuner import template
from tuner.errors import ConfigError, TemplateError
from tuner.space import Knob

CPU = {"device": "cpu", "cores": 2, "capability": (0, 0), "shared_memory_per_block": 0}


def facts(tiny, shape=(4, 8)):
    return tiny.facts((8,), [shape], CPU)


def test_load_reads_the_folder(tiny, tiny_folder):
    assert tiny.name == "tiny"
    assert [v.name for v in tiny.variants] == ["plain", "gpu"]
    assert tiny.problem == tiny_folder / "problem.py"


def test_every_shipped_template_loads():
    for name in template.shipped_names():
        assert template.load(template.shipped_folder() / name).name == name


@pytest.mark.parametrize("name", ["problem.py", "model_new.py", "plain.py", "plain.cpp"])
def test_a_missing_part_is_named(tiny_folder, name):
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
def test_a_broken_template_file_is_one_line_with_its_path(tiny_folder, text, fault):
    (tiny_folder / "template.py").write_text(text)
    with pytest.raises(TemplateError, match=fault) as caught:
        template.load(tiny_folder)
    assert str(tiny_folder / "template.py") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_facts_join_axes_and_limits(tiny):
    assert (facts(tiny).C, facts(tiny).cores) == (8, 2)


def test_a_workload_that_axes_refuses_is_a_template_error(tiny):
    with pytest.raises(TemplateError, match=r"does not take init \[8\].*wants an input"):
        facts(tiny, (4, 9))


def test_a_space_has_the_variants_of_its_device(tiny):
    assert [b.variant for b in tiny.space("cpu", facts(tiny)).branches] == ["plain"]


def test_a_variant_beyond_the_capability_is_left_out(tiny):
    old = tiny.facts((8,), [(4, 8)], {**CPU, "device": "cuda", "capability": (7, 5)})
    with pytest.raises(ConfigError, match="no variant for this cuda device"):
        tiny.space("cuda", old)


def test_narrowing_keeps_the_default_where_it_can(tiny):
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
def test_a_wrong_request_is_one_line(tiny, asked, fault):
    with pytest.raises(ConfigError, match=fault):
        tiny.space("cpu", facts(tiny), **asked)


def test_a_variant_that_knows_none_of_a_knobs_choices_is_left_out(tiny):
    other = dataclasses.replace(tiny.variant("plain"), name="other", knobs=(Knob("unroll", (16, 32), 16),))
    both = dataclasses.replace(tiny, variants=(*tiny.variants, other))
    wide = tiny.facts((64,), [(4, 64)], CPU)
    for wanted, left in (([16], ["other"]), ([2, 16], ["plain", "other"])):
        assert [b.variant for b in both.space("cpu", wide, narrowing={"unroll": wanted}).branches] == left


def test_a_space_without_a_point_is_refused(tiny):
    small = tiny.facts((2,), [(4, 2)], CPU)
    with pytest.raises(ConfigError, match="no point is left"):
        tiny.space("cpu", small, narrowing={"unroll": [4, 8]})


def test_find_takes_a_path(tiny_folder):
    assert template.find("./tiny", tiny_folder.parent).folder == tiny_folder.resolve()


@pytest.mark.parametrize("name", ["nope", "a b", "../gn_mean", "./", "gn_mean/.."])
def test_find_refuses_what_is_no_template(tmp_path, name):
    with pytest.raises(ConfigError, match="template: "):
        template.find(name, tmp_path)
