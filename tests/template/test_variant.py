"""A variant's own fields, and hosts that several variants share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tuner import template
from tuner.errors import TemplateError
from tuner.space import Knob, Point
from tuner.template import Variant, render

KNOBS = (Knob("unroll", (1, 2), 1),)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": "Plain"}, "a name is a lower-case identifier"),
        ({"device": "tpu"}, "device is 'cuda' or 'cpu', not 'tpu'"),
        ({"source": "../plain.cpp"}, "source is the name of a file"),
        ({"host": "../plain"}, "host is a lower-case identifier, not '../plain'"),
        ({"host": "class"}, "host is a lower-case identifier, not 'class'"),
        ({"knobs": KNOBS * 2}, "two knobs have one name"),
        ({"leaves": "gelu"}, "leaves wants a tuple of operators' names, not 'gelu'"),
        ({"leaves": ("aten::gelu",)}, "leaves: 'aten::gelu' is not an operator's name such as 'gelu'"),
        ({"leaves": ("gelo",)}, "leaves: PyTorch .* has no operator aten::gelo"),
        ({"dtypes": "float32"}, r"dtypes wants a tuple of names such as \('float32',\)"),
        ({"dtypes": ()}, "dtypes wants a tuple of names"),
        ({"minimum": 80}, "minimum is a compute capability"),
    ],
)
def test_a_field_that_cannot_be_is_refused(changes: dict[str, object], fault: str) -> None:
    fields = {"name": "plain", "device": "cpu", "source": "plain.cpp", "knobs": KNOBS, **changes}
    with pytest.raises(TemplateError, match=fault):
        Variant(**fields)  # type: ignore[arg-type]


def test_the_host_is_the_variant_s_own_unless_it_says_otherwise() -> None:
    assert Variant("plain", "cpu", "plain.cpp", KNOBS).host == "plain"
    assert Variant("plain", "cpu", "plain.cpp", KNOBS, host="shared").host == "shared"


def test_another_declaration_of_what_is_left_to_pytorch_is_another_digest(tiny: template.Template) -> None:
    plain = tiny.variant("plain")
    leaving = dataclasses.replace(plain, leaves=("gelu",))
    other = dataclasses.replace(tiny, variants=(leaving,))
    assert render.digest(other, leaving) != render.digest(tiny, plain)


def sharing(folder: Path, host: Path) -> template.Template:
    """`tiny` with a second variant of the same source, both with the host `scaled`, which lies at `host`."""
    host.parent.mkdir(parents=True, exist_ok=True)
    host.write_text((folder / "plain.py").read_text().replace("def plain(", "def scaled("))
    path = folder / "template.py"
    text = path.read_text().replace('source="plain.cpp",', 'source="plain.cpp",\n        host="scaled",')
    text += "VARIANTS += (Variant('other', 'cpu', 'plain.cpp', VARIANTS[0].knobs, host='scaled'),)\n"
    path.write_text(text)
    return template.load(folder)


def tuned(variant: str, shape: tuple[int, ...]) -> render.Tuned:
    knobs = (("unroll", 4), ("order", "rows"), ("fast", True), ("threads", 1))
    return render.Tuned(Point(variant, knobs), (shape,), "float32", "Test CPU", "match")


@pytest.mark.parametrize("place", ["tiny", "include", "include/families"])
def test_a_host_that_variants_share_is_in_a_candidate_once(tiny_folder: Path, place: str) -> None:
    shared = sharing(tiny_folder, tiny_folder.parent / place / "scaled.py")
    text = render.candidate(shared, [tuned("plain", (4, 8)), tuned("other", (16, 8))]).text
    assert text.count("def scaled(") == 1
    assert text.count("host=scaled,") == 2


def test_a_host_in_the_folder_comes_before_one_that_is_shared(tiny_folder: Path) -> None:
    sharing(tiny_folder, tiny_folder.parent / "include" / "scaled.py")
    own = tiny_folder / "scaled.py"
    own.write_text((tiny_folder.parent / "include" / "scaled.py").read_text() + "# its own\n")
    assert "# its own\n" in render.candidate(template.load(tiny_folder), [tuned("plain", (4, 8))]).text


def test_the_digest_follows_a_shared_host(tiny_folder: Path) -> None:
    host = tiny_folder.parent / "include" / "scaled.py"
    shared = sharing(tiny_folder, host)
    before = render.digest(shared, shared.variant("plain"))
    host.write_text(host.read_text() + "# changed\n")
    assert render.digest(shared, shared.variant("plain")) != before


def test_a_host_that_is_nowhere_is_named(tiny_folder: Path) -> None:
    sharing(tiny_folder, tiny_folder / "scaled.py")
    (tiny_folder / "scaled.py").unlink()
    with pytest.raises(TemplateError, match=r"scaled\.py is neither a file of it nor in include/"):
        template.load(tiny_folder)
