"""Rounding to TF32, and its switches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tuner.verification import tf32


@pytest.mark.parametrize(
    ("x", "rounded"), [(1.0, 1.0), (1 + 2**-11, 1 + 2**-10), (1 + 2**-12, 1.0), (math.inf, math.inf)]
)
def test_tf32_rounds_to_ten_bits_ties_away(x: float, rounded: float) -> None:
    assert tf32.round_to_tf32(torch.tensor(x)).item() == rounded


def test_operands_are_rounded_inside_only() -> None:
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data.fill_(1.0)
    x = torch.tensor([1 + 2**-12])
    with tf32.rounded_operands(linear):
        assert linear(x).item() == 1.0
    assert linear(x).item() == x.item()


def test_the_switches_are_put_back() -> None:
    before = torch.backends.cudnn.allow_tf32
    with tf32.tf32_flags(True, not before):
        assert torch.backends.cudnn.allow_tf32 is not before
    assert torch.backends.cudnn.allow_tf32 is before
