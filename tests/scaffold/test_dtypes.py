"""The dtypes that a launcher's parameters name."""

from __future__ import annotations

import pytest

from tuner.scaffold.dtypes import arguments, of_launcher
from tuner.template.signatures import signatures


@pytest.mark.parametrize(
    ("pointers", "dtypes", "mixed"),
    [
        ("const float* x, float* y", ("float32",), False),
        ("const float* x, const long long* target, float* y", ("float32",), False),
        ("const __nv_bfloat16* x, __nv_bfloat16* y", ("bfloat16",), False),
        ("const half* x, const float* w, half* y", ("float16", "float32"), True),
        ("const double* x, double* y", ("float64",), False),
        ("const Element* x, Element* y", ("float32", "float16", "bfloat16"), False),
        ("const Element* x, const float* w, Element* y", ("float32", "float16", "bfloat16"), True),
        ("const void* x, void* y, int n", ("float32",), False),
    ],
)
def test_they_are_those_of_its_pointers(pointers: str, dtypes: tuple[str, ...], mixed: bool) -> None:
    text = f'extern "C" int f({pointers}) {{ return 0; }}\n'
    assert of_launcher(signatures(text)["f"], text) == (dtypes, mixed)


def test_a_comment_names_none() -> None:
    text = 'extern "C" int f(float* y) { return 0; }  // an Element\n'
    assert of_launcher(signatures(text)["f"], text) == (("float32",), False)


def test_what_is_so_without_saying_is_not_said() -> None:
    assert arguments(("float32",), False) == ""
