"""What template folders share: includes, hosts and Python modules of include/."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from tuner import template
from tuner.errors import TemplateError
from tuner.template import shared
from tuner.template.shared import inline_includes
from tuner.template.signatures import place

# ---- what sources include ---------------------------------------------------------------------------


def test_includes_are_inlined_once(tiny: template.Template, tiny_folder: Path) -> None:
    source = tiny_folder / "plain.cpp"
    source.write_text('#include "common.hpp"\n' + source.read_text())
    text = inline_includes(source)
    assert text.count("static inline float times") == 1
    assert "#include" not in text
    assert "#pragma once" not in text


def test_a_missing_include_is_named(tiny_folder: Path) -> None:
    (tiny_folder / "common.hpp").unlink()
    with pytest.raises(TemplateError, match=r"common\.hpp.*no such file"):
        inline_includes(tiny_folder / "plain.cpp")


def test_angle_includes_stay(tiny_folder: Path) -> None:
    (tiny_folder / "plain.cpp").write_text("#include <cmath>\n")
    assert inline_includes(tiny_folder / "plain.cpp") == '#line 1 "tiny/plain.cpp"\n#include <cmath>\n'


def test_an_include_is_found_in_a_folder_of_the_include_folder(tiny_folder: Path) -> None:
    shared_file = tiny_folder.parent / "include" / "core" / "half.hpp"
    shared_file.parent.mkdir(parents=True)
    shared_file.write_text('#pragma once\n#include "core/more.hpp"\n#include "common.hpp"\n')
    shared_file.with_name("more.hpp").write_text("// more\n")
    shared_file.with_name("common.hpp").write_text("// beside it\n")
    source = tiny_folder / "plain.cpp"
    source.write_text('#include "core/half.hpp"  // halves\n')
    code = [line for line in inline_includes(source).splitlines() if line and not line.startswith("#line")]
    assert code == ["// more", "// beside it"]


def test_each_piece_says_of_which_file_and_line_it_is(tiny_folder: Path) -> None:
    """By names that do not depend on where the folders lie."""
    shared_file = tiny_folder.parent / "include" / "half.hpp"
    shared_file.parent.mkdir()
    shared_file.write_text("#pragma once\nint half;")
    source = tiny_folder / "plain.cpp"
    source.write_text('#include "half.hpp"\n#include "half.hpp"\n#include "core/portable.hpp"\nint last;\n')
    text = inline_includes(source)
    assert str(tiny_folder.parent) not in text
    assert place(text, text.index("int half")) == ("include/half.hpp", 2)
    assert place(text, text.index("ceil_div"))[0] == "kernel_templates/include/core/portable.hpp"
    assert place(text, text.index("int last")) == ("tiny/plain.cpp", 4)
    assert shared.file_of("tiny/plain.cpp", tiny_folder) == source
    assert shared.file_of("kernel_templates/include/core/portable.hpp", tiny_folder).is_file()


# ---- Python that templates share --------------------------------------------------------------------


def sharing(folder: Path, size: int | str | None = None) -> Path:
    """Make a template ask include/ for a choice of its knob; with `size`, put that there."""
    path = folder / "template.py"
    path.write_text("from sizes import SIZE\n" + path.read_text().replace("(64, 128), 128", "(64, SIZE), SIZE"))
    if size is not None:
        (folder.parent / "include").mkdir()
        (folder.parent / "include" / "sizes.py").write_text(f"SIZE = {size}\n")
    return folder


def size(folder: Path) -> object:
    return template.load(folder).variant("gpu").knobs[0].default


def test_modules_of_one_name_in_two_trees_stay_apart(tiny_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "others" / "tiny")
    trees = [sharing(tiny_folder, 256), sharing(other, 512)]
    path = list(sys.path)
    assert [size(folder) for folder in trees * 2] == [256, 512, 256, 512]
    assert sys.path == path and "sizes" not in sys.modules


def test_a_module_of_that_name_which_the_process_has_is_neither_used_nor_lost(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sizes", dataclasses)
    assert size(sharing(tiny_folder, 256)) == 256
    assert sys.modules["sizes"] is dataclasses


def test_a_fault_in_what_is_shared_is_the_template_s(tiny_folder: Path) -> None:
    path = list(sys.path)
    with pytest.raises(TemplateError, match=r"template.py:1: ZeroDivisionError"):
        template.load(sharing(tiny_folder, "1 / 0"))
    assert sys.path == path and "sizes" not in sys.modules


def test_the_shipped_include_comes_second(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    (shipped / "include").mkdir(parents=True)
    (shipped / "include" / "sizes.py").write_text("SIZE = 1024\n")
    monkeypatch.setattr(shared, "shipped_folder", lambda: shipped)
    assert size(sharing(tiny_folder)) == 1024
    (tiny_folder.parent / "include").mkdir()
    (tiny_folder.parent / "include" / "sizes.py").write_text("SIZE = 256\n")
    assert size(tiny_folder) == 256


def test_a_copy_of_a_shipped_template_loads_anywhere(tmp_path: Path) -> None:
    copy = shutil.copytree(template.shipped_folder() / "gn_mean", tmp_path / "mine")
    shipped = template.load(template.shipped_folder() / "gn_mean")
    assert [v.knobs for v in template.load(copy).variants] == [v.knobs for v in shipped.variants]
