"""What every backend shares."""

from __future__ import annotations

import pytest

from tuner.backends.base import plain


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H200", "NVIDIA H200"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"),
        ('a"""\n../b\\', "a .. b"),
        ("\n", "unknown"),
    ],
)
def test_a_device_name_is_made_plain(name: str, expected: str) -> None:
    assert plain(name) == expected
