"""Where a search begins: what the host alone chooses, at the default's binary."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from helpers.tiny import TINY

from tuner import template
from tuner.search.starts import host_choices
from tuner.space import Branch, Constraint, Facts, Space
from tuner.template import render


def written(folder: Path, knobs: str) -> template.Template:
    """The tiny template with these knobs beside its own; the host reads `way` and `kept`."""
    known = 'Knob("threads", (1, 2), 1, "read by the host"),'
    reads = 'out = torch.empty_like(x) if kernel.knobs.get("way") else torch.empty_like(x + bool("kept"))'
    for name, text in TINY.items():
        text = text.replace("out = torch.empty_like(x)", reads).replace(known, f"{known} {knobs}")
        (folder / name).write_text(text)
    return template.load(folder)


def space_of(loaded: template.Template, *constraints: Constraint) -> Space:
    variant = loaded.variant("plain")
    return Space((Branch("plain", variant.knobs, constraints),), Facts())


def test_each_word_of_the_host_s_knobs_is_tried_at_the_default_s_binary(tmp_path: Path) -> None:
    loaded = written(tmp_path, 'Knob("way", ("a", "b", "c"), "a"), Knob("kept", (False, True), True),')
    points = host_choices(loaded, space_of(loaded))
    assert [(point.knobs["way"], point.knobs["kept"]) for point in points] == [("b", True), ("c", True), ("a", False)]
    variant = loaded.variant("plain")
    assert len({render.kernel_source(loaded, variant, point) for point in points}) == 1


def test_where_a_word_alone_is_not_valid_the_nearest_point_with_it_is(tmp_path: Path) -> None:
    loaded = written(tmp_path, 'Knob("way", ("a", "b"), "a"), Knob("kept", (False, True), True),')
    rule = Constraint("b is not kept", lambda k, f: k.way != "b" or not k.kept)
    (one, other) = host_choices(loaded, space_of(loaded, rule))
    assert (one.knobs["way"], one.knobs["kept"]) == ("b", False)
    assert (other.knobs["way"], other.knobs["kept"]) == ("a", False)


def test_words_of_the_source_are_left_to_the_sampler(tmp_path: Path) -> None:
    loaded = written(tmp_path, "")
    assert {knob.name for knob in render.host_knobs(loaded, loaded.variant("plain"))} == {"threads"}
    assert host_choices(loaded, space_of(loaded)) == []


def test_variants_take_turns(tmp_path: Path) -> None:
    loaded = written(tmp_path, 'Knob("way", ("a", "b"), "a"), Knob("kept", (False, True), True),')
    variant = loaded.variant("plain")
    other = dataclasses.replace(variant, name="other")
    both = dataclasses.replace(loaded, variants=(variant, other))
    space = Space(tuple(Branch(each.name, each.knobs, ()) for each in both.variants), Facts())
    assert [point.variant for point in host_choices(both, space)] == ["plain", "other"] * 2
