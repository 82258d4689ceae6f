"""What must agree between a template's files is said when the folder is loaded, in one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuner import template
from tuner.errors import TemplateError


def refusal(folder: Path) -> str:
    with pytest.raises(TemplateError) as caught:
        template.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_knob_that_nothing_mentions_is_refused(tiny_folder: Path) -> None:
    edit(tiny_folder / "template.py", 'Knob("unroll"', 'Knob("unrol"')
    edit(tiny_folder / "template.py", "k.unroll", "k.unrol")
    said = refusal(tiny_folder)
    assert said.startswith(f"{tiny_folder / 'plain.cpp'}: knob unrol of variant plain does nothing: UNROL ")
    assert said.endswith("nor 'unrol' in plain.py or model_new.py")


@pytest.mark.parametrize("use", ["", "// UNROLL\n", "/* see\nUNROLL */", "#ifdef UNROLL\n#endif\n", "int UNROLLED;"])
def test_a_knob_that_is_mentioned_but_not_used_is_refused(tiny_folder: Path, use: str) -> None:
    edit(tiny_folder / "plain.cpp", "return UNROLL * FAST", "return FAST")
    edit(tiny_folder / "plain.cpp", 'extern "C" int', use + '\nextern "C" int')
    assert "plain.cpp:2: knob unroll of variant plain does nothing" in refusal(tiny_folder)


@pytest.mark.parametrize("use", ["#if UNROLL == 2\n#endif\n", "#ifndef TILE\n#define TILE (2 * UNROLL)\n#endif\n"])
def test_a_knob_that_the_preprocessor_uses_is_used(tiny_folder: Path, use: str) -> None:
    edit(tiny_folder / "plain.cpp", "return UNROLL * FAST", "return FAST")
    edit(tiny_folder / "plain.cpp", 'extern "C" int', use + 'extern "C" int')
    template.load(tiny_folder)


def test_a_knob_that_only_an_include_uses_is_used(tiny_folder: Path) -> None:
    edit(tiny_folder / "plain.cpp", "return UNROLL * FAST", "return FAST")
    edit(tiny_folder / "common.hpp", "return a", "return UNROLL * 0 + a")
    template.load(tiny_folder)


def test_a_source_that_exports_nothing_is_refused(tiny_folder: Path) -> None:
    edit(tiny_folder / "plain.cpp", 'extern "C" ', "")
    assert refusal(tiny_folder) == (
        f'{tiny_folder / "plain.cpp"}: exports nothing; a launcher is declared extern "C" int NAME(...)'
    )


def test_a_launcher_that_the_source_lacks_is_refused(tiny_folder: Path) -> None:
    edit(tiny_folder / "plain.py", '"scale"', '"scaled"')
    assert refusal(tiny_folder) == (
        f'{tiny_folder / "plain.cpp"}: has no extern "C" int scaled(...), which plain.py:9 launches'
    )


def test_a_host_function_of_another_name_is_refused(tiny_folder: Path) -> None:
    edit(tiny_folder / "plain.py", "def plain(", "def plane(")
    assert refusal(tiny_folder) == (
        f"{tiny_folder / 'plain.py'}: has no function plain(model, kernel, ...); it defines plane"
    )


def test_a_model_new_of_another_name_is_refused(tiny_folder: Path) -> None:
    edit(tiny_folder / "model_new.py", "class ModelNew", "class Model")
    assert refusal(tiny_folder) == f"{tiny_folder / 'model_new.py'}: defines no class ModelNew"


@pytest.mark.parametrize("name", ["plain.py", "model_new.py"])
def test_python_that_does_not_parse_is_refused_with_its_line(tiny_folder: Path, name: str) -> None:
    (tiny_folder / name).write_text("import torch\n\ndef plain(:\n")
    assert refusal(tiny_folder).startswith(f"{tiny_folder / name}:3: SyntaxError: ")


@pytest.mark.parametrize("name", ["plain.py", "plain.cpp", "common.hpp", "model_new.py"])
def test_a_file_that_is_no_text_is_refused(tiny_folder: Path, name: str) -> None:
    (tiny_folder / name).write_bytes(b"\xff\xfe")
    assert refusal(tiny_folder).startswith(f"{tiny_folder / name}: is not UTF-8 text")


def test_a_missing_include_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "common.hpp").unlink()
    assert "plain.cpp:1: #include 'common.hpp': no such file" in refusal(tiny_folder)


def test_a_name_that_is_a_knobs_macro_is_refused(tiny_folder: Path) -> None:
    """It would be replaced by a number: the compiler's words speak of anything but the knob."""
    source = tiny_folder / "plain.cpp"
    source.write_text(source.read_text() + "template <int UNROLL> int twice() { return 2 * UNROLL; }\n")
    with pytest.raises(
        TemplateError, match=r"plain\.cpp:\d+: UNROLL is declared here, and is the macro of knob unroll"
    ):
        template.load(tiny_folder)
