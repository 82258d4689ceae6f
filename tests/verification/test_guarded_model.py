"""What a candidate does beside computing its result is seen, in a process that knows no right one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tuner import backends
from tuner.records import TensorSpec, Workload
from tuner.verification.criterion import Wrong
from tuner.verification.guarded_model import GuardedModel, construct
from tuner.verification.operators import fallbacks

X = torch.rand(4, 3)
CPU = backends.of("cpu")
STATE = {"weight": torch.full((3,), 2.0)}


class Scale(nn.Module):
    """x times a weight, after whatever `also` does with the model and x."""

    def __init__(self, also: Callable[[Scale, torch.Tensor], Any] = lambda model, x: None) -> None:
        super().__init__()
        self.weight, self.also = nn.Parameter(torch.rand(3)), also

    def forward(self, x: torch.Tensor) -> Any:
        instead = self.also(self, x)
        return x * self.weight if instead is None else instead


def results(also: Callable[[Scale, torch.Tensor], Any], repeat: bool = False) -> list[torch.Tensor]:
    candidate = GuardedModel(Scale(also), CPU)
    candidate.guard_parameters()
    return [answer.tensors[0] for answer in candidate.answers(STATE, [X], repeat)]


def beyond(x: torch.Tensor) -> torch.Tensor:
    """The element behind a tensor's last."""
    return x.as_strided((1,), (1,), x.storage_offset() + x.numel())


@pytest.mark.parametrize("repeat", [False, True])
def test_every_result_of_an_honest_model_is_right(repeat: bool) -> None:
    found = results(lambda model, x: None, repeat)
    assert len(found) == 2 and all(torch.equal(y, X * 2) for y in found)


@pytest.mark.parametrize(
    ("also", "said"),
    [
        (lambda model, x: {"y": x}, "returned a dict, not a plain tensor"),
        (lambda model, x: [x, 3], "returned an int, not a plain tensor"),
        (lambda model, x: nn.Parameter(x), "returned a Parameter, not a plain tensor"),
        (lambda model, x: (x * model.weight, x.zero_())[0], "modified its input"),
        (lambda model, x: (x * model.weight, beyond(x).zero_())[0], "wrote outside its input"),
        (lambda model, x: (torch.zeros(4, 3), beyond(model.weight.data).zero_())[0], "wrote outside its parameters"),
        (lambda model, x: (torch.zeros(4, 3), model.weight.data.zero_())[0], "changed its parameter weight"),
        (lambda model, x: (y := torch.empty(4, 3), beyond(y).zero_())[0], "wrote outside the tensors that it alloc"),
    ],
)
def test_what_is_done_beside_a_result_is_wrong(also: Callable[[Scale, torch.Tensor], Any], said: str) -> None:
    with pytest.raises(Wrong, match=said):
        results(also)


def test_unwritten_memory_is_nan() -> None:
    candidate = GuardedModel(Scale(lambda model, x: torch.empty(4, 3)), CPU)
    poisoned = next(candidate.answers(STATE, [X]))
    assert bool(poisoned.tensors[0].isnan().all())


def test_the_same_call_twice_has_to_give_the_same_bits() -> None:
    calls = []

    def count(model: Scale, x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return x + len(calls)

    assert len(results(count)) == 2
    with pytest.raises(Wrong, match="call 2 on the same values gives other bits than the first"):
        results(count, repeat=True)


def test_the_memory_of_the_last_result_may_not_be_returned_again() -> None:
    kept = torch.empty(4, 3)
    with pytest.raises(Wrong, match="the memory of an earlier result"):
        results(lambda model, x: kept.copy_(x), repeat=True)


@pytest.mark.parametrize("size", [2, 5])
def test_results_may_not_take_turns_in_the_same_memory(size: int) -> None:
    ring, calls = [torch.empty(4, 3) for _ in range(size)], itertools.count()
    candidate = GuardedModel(Scale(lambda model, x: ring[next(calls) % size].copy_(x)), CPU)
    with pytest.raises(Wrong, match="the memory of an earlier result"):
        candidate.repeat(STATE, [X], 20)


def test_a_result_is_overwritten_once_it_is_read() -> None:
    kept: list[torch.Tensor] = []

    def keep(model: Scale, x: torch.Tensor) -> torch.Tensor:
        kept.append(x + 1)
        return kept[-1]

    candidate = GuardedModel(Scale(keep), CPU)
    read = candidate.call([X])
    assert bool(kept[0].isnan().all())
    assert torch.equal(read.tensors[0], X + 1)


def test_what_was_left_to_pytorch_is_known_once_the_first_result_is_there() -> None:
    candidate = GuardedModel(Scale(lambda model, x: x.relu()), CPU)
    next(candidate.answers(STATE, [X]))
    assert "relu" in fallbacks(candidate.work, X.numel())


def test_a_model_is_constructed_as_kernelbench_does() -> None:
    class Drawn(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(size))

    workload = Workload(init=(3,), inputs=(TensorSpec(shape=(4, 3)),))
    one, again, other = (construct(Drawn, workload, seed).get_parameter("weight") for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert construct(Drawn, workload.in_dtype("float64"), 3).get_parameter("weight").dtype == torch.float64


def test_of_large_results_only_the_last_call_s_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    held: dict[bool, int] = {}
    for large in (False, True):
        monkeypatch.setattr(type(CPU), "memory_bytes", lambda self, large=large: 64 if large else 2**40)
        candidate = GuardedModel(Scale(), CPU)
        for _ in range(3):
            candidate.call([X])
        held[large] = len(candidate._returned)
    assert held == {False: 3, True: 1}
