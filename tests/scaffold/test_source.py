"""Knobs that a source's own defaults propose."""

from __future__ import annotations

import pytest

from tuner.scaffold.source import knobs


@pytest.mark.parametrize(
    ("default", "choices"),
    [
        (0, (0, 1)),
        (1, (1, 2, 4)),
        (2, (1, 2, 4, 8)),
        (64, (16, 32, 64, 128, 256)),
        (12, (6, 12, 24)),
    ],
)
def test_choices_lie_around_the_default(default: int, choices: tuple[int, ...]) -> None:
    text = f"#ifndef TILE  // of a block\n#define TILE {default}\n#endif\nint n = TILE;\n"
    assert knobs(text, "a.cu") == {"tile": (choices, default)}


@pytest.mark.parametrize(
    "use", ["#if WIDE\n#endif", "if (!WIDE) f();", "if constexpr (WIDE) f();", "int n = WIDE ? 1 : 2;"]
)
def test_what_a_source_only_asks_for_is_on_or_off(use: str) -> None:
    assert knobs(f"#ifndef WIDE\n#define WIDE 1\n#endif\n{use}\n", "a.cpp") == {"wide": ((0, 1), 1)}


@pytest.mark.parametrize(
    "use", ["if (WIDE > 2) f();", "f(WIDE);", "if (WIDE) f(WIDE);", "int n = size % WIDE ? 1 : 2;"]
)
def test_what_a_source_counts_with_is_no_switch(use: str) -> None:
    assert knobs(f"#ifndef WIDE\n#define WIDE 1\n#endif\n{use}\n", "a.cpp") == {"wide": ((1, 2, 4), 1)}


def test_a_block_has_no_more_threads_than_the_device_takes() -> None:
    text = "#ifndef BLOCK_SIZE\n#define BLOCK_SIZE 512\n#endif\nint n = BLOCK_SIZE;\n"
    assert knobs(text, "a.cu")["block_size"][0] == (128, 256, 512, 1024)
    assert knobs(text, "a.cpp")["block_size"][0][-1] == 2048


@pytest.mark.parametrize(
    "text",
    [
        "#define TILE 4\n",
        "#ifndef SCALAR\n#define SCALAR float\n#endif\nSCALAR x;\n",
        "#ifndef GUARD_H\n#define GUARD_H\n#endif\n",
        "#ifndef UNUSED\n#define UNUSED 4\n#endif\n",
        "// #ifndef TILE\n// #define TILE 4\n",
    ],
)
def test_what_is_no_number_or_is_not_used_is_no_knob(text: str) -> None:
    assert knobs(text, "a.cu") == {}
