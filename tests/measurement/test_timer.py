"""Timing one forward: fresh values every time, and a clock that is the real one."""

from __future__ import annotations

import time

import pytest
import torch

from tuner.measurement import timer as benchmark
from tuner.measurement.timer import Timer


@pytest.fixture
def base():
    return torch.rand(4, 3, 5)


def given(timer, count, **options):
    """What a model is handed in `count` samples."""
    seen = []
    for _ in range(count):
        timer.sample_ms(lambda x: seen.append(x.clone()) or x, **options)
    return seen


def test_the_time_is_the_model_s(base, monkeypatch):
    """The clock stands still but while the model runs."""
    now = [7.0]
    monkeypatch.setattr(benchmark, "_CLOCK", lambda: now[0])

    def model(x):
        now[0] += 0.25
        return x

    assert Timer([base], seed=1).samples_ms(model, 3) == [250.0] * 3


def test_samples_are_counted(base):
    assert len(Timer([base], seed=1).samples_ms(lambda x: x, 7)) == 7


def test_every_sample_has_values_of_its_own(base):
    seen = given(Timer([base], seed=1), 50)
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 50


def test_a_content_seen_before_never_comes_again(base):
    hits, memory = [0], {}

    def model(x):
        key = tuple(x.flatten().tolist())
        hits[0] += key in memory
        return memory.setdefault(key, x.clone())

    Timer([base], seed=1).samples_ms(model, 50)
    assert hits == [0]


def test_normalised_values_differ_too(base):
    """A factor alone is lost in a normalisation: a result remembered by pointer would still be right."""
    seen = [torch.nn.functional.group_norm(x, 1) for x in given(Timer([base], seed=1), 10)]
    assert all((x - seen[0]).abs().max() > 0.1 for x in seen[1:])


def test_values_keep_their_distribution(base):
    for x in given(Timer([base], seed=1), 5):
        factor = (x.sum() / base.sum()).item()
        assert 1 - 2**-8 <= factor <= 1
        assert torch.allclose(x.flatten().sort()[0], base.flatten().sort()[0] * factor)


def test_the_base_values_themselves_on_demand(base):
    (x,) = given(Timer([base], seed=1), 1, fresh=False)
    assert torch.equal(x, base)


def test_the_base_is_never_handed_out(base):
    kept = base.clone()
    Timer([base], seed=1).samples_ms(lambda x: x.zero_(), 3)
    assert torch.equal(base, kept)


def test_values_of_a_seed_come_again(base):
    one, two = (given(Timer([base], seed=3), 2) for _ in "12")
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (2,)])
def test_tiny_inputs_are_served(shape):
    assert given(Timer([torch.rand(shape)], seed=1), 2)[0].shape == shape


def test_an_input_in_another_layout_is_served(base):
    (x,) = given(Timer([base.transpose(0, 2)], seed=1), 1, fresh=False)
    assert torch.equal(x, base.transpose(0, 2))


def test_the_model_runs_without_gradients(base):
    assert not Timer([base], seed=1).sample_ms(lambda x: torch.tensor(float(torch.is_grad_enabled())))[1].item()


def test_nothing_is_tampered_with_at_first():
    assert benchmark.tampered() is None


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (time, "perf_counter"),
        (torch.cuda, "Event"),
        (torch.cuda.Event, "elapsed_time"),
        (torch.cuda, "synchronize"),
        (torch, "equal"),
        (torch.Tensor, "isnan"),
        (torch.Tensor, "__getitem__"),
    ],
)
def test_a_replaced_function_is_named(monkeypatch, owner, name):
    monkeypatch.setattr(owner, name, lambda *arguments: 0.0)
    assert benchmark.tampered().endswith(name)


def test_a_replaced_clock_does_not_reach_the_timer(base, monkeypatch):
    original = time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("was asked"))
    Timer([base], seed=1).sample_ms(lambda x: x)
    assert benchmark._CLOCK is original


@pytest.mark.gpu
def test_on_a_gpu_a_replaced_event_is_noticed(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    timer = Timer([torch.rand(64, 64, device="cuda")], seed=1)
    assert timer.sample_ms(lambda x: x.mm(x))[0] > 0
    monkeypatch.setattr(torch.cuda.Event, "elapsed_time", lambda begin, end: 1e-9)
    assert benchmark.tampered() == "torch.cuda.Event.elapsed_time"
