"""YAML without its surprises."""

from __future__ import annotations

from pathlib import Path

import hypothesis
from helpers.configs import WriteConfig, fault, lines_of_fault
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tuner import settings


def test_words_are_not_booleans_and_only_plain_numbers_are_numbers(config: WriteConfig) -> None:
    found = settings.load(config("template: t\nknobs: {a: [no, on, yes], b: ['1'], c: [010, 1_0, 1:30, 2020-01-01]}"))
    assert found.knobs == {"a": ("no", "on", "yes"), "b": ("1",), "c": ("010", "1_0", "1:30", "2020-01-01")}


def test_an_alias_bomb_is_refused_at_once(config: WriteConfig) -> None:
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30))
    assert "aliases are not taken" in fault(config(bomb))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert fault(tmp_path / "nope.yaml").endswith("nope.yaml: cannot be read: No such file or directory")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    assert "is not a file" in fault(tmp_path)


def test_a_path_with_a_nul_is_no_config() -> None:
    assert "cannot be read" in fault(Path("a\0b"))


BYTES = (
    st.binary(max_size=80)
    | st.text(max_size=80).map(str.encode)
    | st.text(alphabet="[]{}:-,&*!|>'\"# \nt0").map(str.encode)
)


@hypothesis.settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(BYTES)
def test_any_bytes_give_settings_or_one_line(config: WriteConfig, text: str | bytes) -> None:
    assert lines_of_fault(config(text)) <= 1
