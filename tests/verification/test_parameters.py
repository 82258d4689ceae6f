"""Parameter values: put into a model, drawn anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tuner.verification.parameters import draw_affine, load_buffers, load_state, made_in_float64, main_parameters


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4))


def test_a_state_is_copied_in_place() -> None:
    mine = model()
    state = {name: value + 1 for name, value in mine.state_dict().items()}
    before = {name: value.data_ptr() for name, value in mine.state_dict().items()}
    load_state(mine, state)
    assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())
    assert before == {name: value.data_ptr() for name, value in mine.state_dict().items()}


def test_buffers_are_put_back_alone() -> None:
    mine = model()
    state = {name: value + 1 for name, value in mine.state_dict().items()}
    weight = mine.get_parameter("0.weight").clone()
    load_buffers(mine, state)
    assert torch.equal(mine.get_buffer("1.running_mean"), state["1.running_mean"])
    assert torch.equal(mine.get_parameter("0.weight"), weight)


def test_a_buffer_that_is_in_no_state_stays() -> None:
    mine = nn.Linear(2, 2)
    mine.register_buffer("table", torch.ones(2), persistent=False)
    load_state(mine, mine.state_dict())
    assert torch.equal(mine.get_buffer("table"), torch.ones(2))


def test_vectors_are_drawn_and_variances_stay_positive() -> None:
    state = draw_affine(model().state_dict(), torch.Generator().manual_seed(1))
    assert bool((state["1.running_var"] > 0).all()) and not bool((state["1.running_var"] == 1).any())
    assert not bool((state["2.weight"] == 1).any()) and not bool((state["1.running_mean"] == 0).any())
    assert state["1.num_batches_tracked"].item() == 0


def test_normalisations_are_not_among_the_main_parameters() -> None:
    assert main_parameters(model()) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_what_a_forward_makes_is_float64_inside_only() -> None:
    with made_in_float64():
        assert torch.ones(1).dtype == torch.float64
    assert torch.ones(1).dtype == torch.float32


@pytest.mark.parametrize(
    "widen",
    [
        lambda x: x.float(),
        lambda x: x.to(torch.float32),
        lambda x: x.softmax(0, dtype=torch.float32),
        lambda x: x.sum(dtype=torch.float32),
        lambda x: torch.zeros_like(x, dtype=torch.float32),
    ],
)
def test_a_forward_that_widens_to_float32_stays_in_float64(widen: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with made_in_float64():
        assert widen(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
        assert widen(torch.ones(2, dtype=torch.float64).half()).dtype == torch.float64
    assert widen(torch.ones(2)).dtype == torch.float32


def test_a_forward_that_rounds_to_a_short_dtype_still_does() -> None:
    with made_in_float64():
        assert torch.ones(1, dtype=torch.float64).bfloat16().dtype == torch.bfloat16
