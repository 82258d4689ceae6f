"""A candidate that replaces what measuring rests on, or leaves settings changed, is noticed."""

from __future__ import annotations

import time

import pytest
import torch

from tuner.measurement import process_state
from tuner.measurement.statistics import Untrusted
from tuner.measurement.timer import Timer


def test_nothing_is_tampered_with_at_first() -> None:
    assert process_state.tampered() is None
    process_state.check_untampered()


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
def test_a_replaced_function_is_named(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    monkeypatch.setattr(owner, name, lambda *arguments: 0.0)
    tampered = process_state.tampered()
    assert tampered is not None and tampered.endswith(name)


def test_a_measurement_after_a_replacement_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "equal", lambda a, b: True)
    with pytest.raises(Untrusted, match=r"the candidate replaced torch\.equal"):
        process_state.check_untampered()


def test_a_changed_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_state.switches()
    assert process_state.switched(before) is None
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark)
    assert process_state.switched(before) == "torch.backends.cudnn.benchmark"


@pytest.mark.gpu
def test_on_a_gpu_a_replaced_event_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    timer = Timer([torch.rand(64, 64, device="cuda")], seed=1)
    assert timer.sample_ms(lambda x: x.mm(x))[0] > 0
    monkeypatch.setattr(torch.cuda.Event, "elapsed_time", lambda begin, end: 1e-9)
    assert process_state.tampered() == "torch.cuda.Event.elapsed_time"
