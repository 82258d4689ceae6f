"""Guard zones, poison and bits."""

from __future__ import annotations

import math

import pytest
import torch

from tuner.verification.guards import GuardedAllocations, guarded_copy, guarded_like, guards_intact, poison, same_bits


def test_guards_keep_strides_and_alignment() -> None:
    x = torch.rand(65)[1:].view(4, 16).t()
    made = guarded_like(x)
    assert (made.shape, made.stride()) == (x.shape, x.stride())
    assert made.data_ptr() % 16 == 4
    assert bool(made.isnan().all())


@pytest.mark.parametrize("where", [-1, 12])
def test_a_write_beside_a_tensor_is_seen(where: int) -> None:
    x = guarded_like(torch.rand(3, 4))
    assert guards_intact(x.zero_())
    x.as_strided((1,), (1,), x.storage_offset() + where).zero_()
    assert not guards_intact(x)


def test_a_guarded_copy_has_the_values() -> None:
    x = torch.rand(3, 4).t()
    assert torch.equal(guarded_copy(x), x) and guards_intact(guarded_copy(x))


def test_uninitialised_tensors_are_nan_and_guarded() -> None:
    with GuardedAllocations() as guards:
        x, y = torch.empty(3), torch.zeros(3)
    assert bool(x.isnan().all()) and bool((y == 0).all())
    assert guards.intact()
    y.as_strided((1,), (1,), y.storage_offset() + 3).fill_(1)
    assert not guards.intact()


def test_poison_covers_all_that_a_view_reaches_and_no_more() -> None:
    whole = torch.zeros(6)
    poison(whole[1:5:2])
    assert whole.isnan().tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("one", "other", "same"), [(math.nan, math.nan, True), (0.0, -0.0, False), (1.0, 1.0, True), (1.0, 2.0, False)]
)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_bits_are_compared_not_values(one: float, other: float, same: bool, shape: tuple[int, ...]) -> None:
    assert same_bits(torch.full(shape, one), torch.full(shape, other)) is same


def test_an_expanded_tensor_is_guarded_element_by_element() -> None:
    x = torch.rand(1, 4).expand(3, 4)
    assert torch.equal(guarded_copy(x), x) and guarded_like(x).is_contiguous()


@pytest.mark.parametrize("x", [torch.rand(()), torch.rand(0, 4), torch.tensor([True, False]), torch.arange(3)])
def test_tensors_of_any_kind_are_guarded(x: torch.Tensor) -> None:
    made = guarded_copy(x)
    assert same_bits(made, x) and guards_intact(made)
