"""Timing one forward: fresh values every time, and a clock that is the real one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from tuner.backends import Clock, Timing
from tuner.backends.cpu import WallClock
from tuner.measurement.statistics import Untrusted
from tuner.measurement.timer import Timer
from tuner.verification.papers import Perturbation
from tuner.verification.perturbation import perturbed

KNOWN = Perturbation(shift=0.3, factor=0.999)


@pytest.fixture
def base() -> torch.Tensor:
    return torch.rand(4, 3, 5)


def given(timer: Timer, count: int, by: Perturbation | None = None) -> list[torch.Tensor]:
    """What a model is handed in `count` samples."""
    seen: list[torch.Tensor] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x

    for _ in range(count):
        timer.sample_ms(model, by)
    return seen


def test_the_time_is_the_model_s(base: torch.Tensor) -> None:
    """The clock stands still but while the model runs."""
    now = [7.0]

    def model(x: torch.Tensor) -> torch.Tensor:
        now[0] += 0.25
        return x

    assert Timer([base], seed=1, clock=WallClock(lambda: now[0])).samples_ms(model, 3) == [250.0] * 3


def test_samples_are_counted(base: torch.Tensor) -> None:
    assert len(Timer([base], seed=1).samples_ms(lambda x: x, 7)) == 7


def test_every_sample_has_values_of_its_own(base: torch.Tensor) -> None:
    seen = given(Timer([base], seed=1), 50)
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 50


def test_a_content_seen_before_never_comes_again(base: torch.Tensor) -> None:
    hits, memory = [0], dict[tuple[float, ...], torch.Tensor]()

    def model(x: torch.Tensor) -> torch.Tensor:
        key = tuple(x.flatten().tolist())
        hits[0] += key in memory
        return memory.setdefault(key, x.clone())

    Timer([base], seed=1).samples_ms(model, 50)
    assert hits == [0]


def test_normalised_values_differ_too(base: torch.Tensor) -> None:
    """A factor alone is lost in a normalisation: a result remembered by pointer would still be right."""
    seen = [torch.nn.functional.group_norm(x, 1) for x in given(Timer([base], seed=1), 10)]
    assert all((x - seen[0]).abs().max() > 0.1 for x in seen[1:])


def test_values_keep_their_distribution(base: torch.Tensor) -> None:
    for x in given(Timer([base], seed=1), 5):
        factor = (x.sum() / base.sum()).item()
        assert 1 - 2**-8 <= factor <= 1
        assert torch.allclose(x.flatten().sort()[0], base.flatten().sort()[0] * factor)


def test_values_that_the_caller_knows_on_demand(base: torch.Tensor) -> None:
    (x,) = given(Timer([base], seed=1), 1, KNOWN)
    assert torch.equal(x, *perturbed([base], KNOWN))


def test_the_base_is_never_handed_out(base: torch.Tensor) -> None:
    kept = base.clone()
    Timer([base], seed=1).samples_ms(lambda x: x.zero_(), 3)
    assert torch.equal(base, kept)


def test_values_of_a_seed_come_again(base: torch.Tensor) -> None:
    one, two = (given(Timer([base], seed=3), 2) for _ in "12")
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (2,)])
def test_tiny_inputs_are_served(shape: tuple[int, ...]) -> None:
    assert given(Timer([torch.rand(shape)], seed=1), 2)[0].shape == shape


def test_an_input_in_another_layout_is_served(base: torch.Tensor) -> None:
    (x,) = given(Timer([base.transpose(0, 2)], seed=1), 1, KNOWN)
    assert torch.equal(x, *perturbed([base.transpose(0, 2).contiguous()], KNOWN))


def test_the_model_runs_without_gradients(base: torch.Tensor) -> None:
    assert not Timer([base], seed=1).sample_ms(lambda x: torch.tensor(float(torch.is_grad_enabled())))[1].item()


class Late(Clock):
    """One whose calls take a millisecond each; the device goes on for these ms after them."""

    def __init__(self, *late_ms: float) -> None:
        self.late_ms = list(late_ms)

    def time(self, call: Callable[[], torch.Tensor]) -> Timing:
        return Timing(1.0, self.late_ms.pop(0), call())


def test_a_device_that_goes_on_after_the_forward_is_not_trusted(base: torch.Tensor) -> None:
    with pytest.raises(Untrusted, match=r"the device was busy for 3\.00 ms after the forward had ended"):
        Timer([base], seed=1, clock=Late(2.0, 3.0)).sample_ms(lambda x: x)


@pytest.mark.parametrize("late_ms", [(1.0,), (2.0, 0.0)])
def test_a_short_wait_or_a_single_one_is_none_of_the_device_s(base: torch.Tensor, late_ms: tuple[float, ...]) -> None:
    clock = Late(*late_ms)
    assert Timer([base], seed=1, clock=clock).sample_ms(lambda x: x)[0] == 1.0
    assert clock.late_ms == []


def test_a_replaced_clock_does_not_reach_the_timer(base: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("was asked"))
    Timer([base], seed=1).sample_ms(lambda x: x)
