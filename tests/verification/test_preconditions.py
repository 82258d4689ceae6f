"""A batch is proved, randomness and modes are found, before anything is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.problems import make_reference

from tuner.errors import ProblemError, UnjudgeableError
from tuner.verification.preconditions import Batch, depends_on_values, find_batch, find_mean

Forward = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


def batch_of(forward: Forward, *inputs: torch.Tensor) -> Batch | None:
    def oracle(given: list[torch.Tensor]) -> list[torch.Tensor]:
        result = forward(*given)
        return list(result) if isinstance(result, tuple) else [result]

    return find_batch(oracle, [x.double() for x in inputs])


X, SQUARE = torch.rand(6, 4), torch.rand(8, 8)


@pytest.mark.parametrize(
    ("forward", "inputs", "found"),
    [
        (torch.sigmoid, (X,), Batch((0,), (0,))),
        (lambda x: x.sum(1), (X,), Batch((0,), (0,))),
        (lambda x: x.t(), (X,), Batch((0,), (1,))),
        (lambda x: (x, x.t()), (X,), Batch((0,), (0, 1))),
        (torch.add, (X, X), Batch((0, 1), (0,))),
        (torch.matmul, (X, torch.rand(4, 3)), Batch((0,), (0,))),
        (torch.matmul, (SQUARE, SQUARE), Batch((0,), (0,))),
        (lambda w, x: torch.matmul(x, w), (torch.rand(4, 3), X), Batch((1,), (0,))),
        (lambda x: x.cumsum(0), (X,), None),
        (lambda x: x - x.mean(0), (X,), None),
        (lambda x: x.sum(), (X,), None),
        (lambda x: x + 1, (torch.rand(()),), None),
        (lambda x: x + 1, (torch.rand(1, 4),), None),
        (lambda x: x + 1, (torch.rand(0, 4),), None),
        (lambda x: x.view(6, 4) + 1, (X,), None),
        (lambda x: x + torch.arange(len(x))[:, None], (X,), None),
    ],
)
def test_a_batch_is_proved(forward: Forward, inputs: tuple[torch.Tensor, ...], found: Batch | None) -> None:
    assert batch_of(forward, *inputs) == found


@pytest.mark.parametrize(
    ("forward", "found"),
    [
        (lambda x: x.mean(), (0,)),
        (lambda x: (x.exp().mean(), x.mean(0)), (0,)),
        (lambda x: torch.nn.functional.kl_div(x, x.exp(), reduction="batchmean"), (0,)),
        (lambda x: x.sum(), None),
        (lambda x: x.mean().sqrt(), None),
        (lambda x: x.argmax(), None),
        (lambda x: (x.mean(), x.sum()), None),
        (lambda x: x - x.mean(0), None),
    ],
)
def test_a_mean_over_samples_is_proved(forward: Forward, found: tuple[int, ...] | None) -> None:
    def oracle(given: list[torch.Tensor]) -> list[torch.Tensor]:
        result = forward(*given)
        return list(result) if isinstance(result, tuple) else [result]

    assert find_mean(oracle, [X.double()]) == found


@pytest.mark.parametrize(
    ("forward", "inputs", "depends"),
    [
        (lambda x: x * 0 + 0.75, (X,), False),
        (lambda x: torch.softmax(x.mean(1, keepdim=True), 1), (X,), False),
        (lambda x: (x[:, :1].argmax(1), torch.ones_like(x)), (X,), False),
        (lambda x: (torch.ones_like(x), x), (X,), True),
        (lambda x: x.mean(), (X,), True),
        (lambda x: torch.cosine_similarity(x.flatten(), x.flatten().square(), 0), (X,), True),
        (lambda x: (x > 0).all(), (X,), True),
        (lambda x: x.isnan(), (X,), True),
        (lambda x: x.isinf().sum(), (X,), True),
        (lambda x: torch.where(x > 0.5, x, 1e30), (X,), True),
        (lambda i: torch.eye(4)[i], (torch.arange(4),), True),
        (lambda i: i * 0, (torch.ones(4).long(),), True),  # no other values can be had
        (lambda x: x / 0, (X,), True),  # nowhere finite
    ],
)
def test_a_result_depends_on_values_or_does_not(
    forward: Forward, inputs: tuple[torch.Tensor, ...], depends: bool
) -> None:
    def oracle(given: list[torch.Tensor]) -> list[torch.Tensor]:
        result = forward(*given)
        return list(result) if isinstance(result, tuple) else [result]

    assert depends_on_values(oracle, [x.double() if x.is_floating_point() else x for x in inputs]) is depends


def test_values_that_a_reference_refuses_tell_nothing() -> None:
    def oracle(given: list[torch.Tensor]) -> list[torch.Tensor]:
        if not torch.equal(given[0], X):
            raise ProblemError("none of its own")
        return [torch.zeros(4)]

    assert depends_on_values(oracle, [X])


def test_only_inputs_with_samples_are_changed() -> None:
    batch = Batch((1,), (0,))
    weight, x = torch.rand(4, 3), torch.rand(6, 4)
    assert [given.shape for given in batch.first([weight, x], 2)] == [(4, 3), (2, 4)]
    assert torch.equal(batch.reversed([weight, x])[0], weight)
    assert torch.equal(batch.sample([weight, x], 5)[1], x[5:])


RANDOM = "return torch.nn.functional.dropout(x, 0.5)"


def test_a_random_reference_is_refused_in_one_line(tmp_path: Path) -> None:
    reference = make_reference(tmp_path, RANDOM)
    with pytest.raises(UnjudgeableError) as caught:
        reference.require_deterministic()
    assert str(caught.value).endswith(
        "the reference is random (two runs in training mode differ): nothing can be judged"
    )


def test_the_same_bits_twice_are_no_randomness(tmp_path: Path) -> None:
    make_reference(tmp_path, "return x + 1").require_deterministic()


@pytest.mark.parametrize(
    ("layer", "training"), [("nn.BatchNorm1d(8)", False), ("nn.Dropout()", False), ("nn.BatchNorm1d(8).eval()", True)]
)
def test_another_mode_is_found_where_it_makes_a_difference(tmp_path: Path, layer: str, training: bool) -> None:
    other = make_reference(tmp_path, "return self.layer(x)", layer=layer).other_mode
    assert other is not None and other.training is training


def test_where_the_mode_makes_no_difference_there_is_no_other(tmp_path: Path) -> None:
    assert make_reference(tmp_path, "return self.layer(x)", layer="nn.Linear(8, 8)").other_mode is None


def test_a_forward_is_timed(tmp_path: Path) -> None:
    slow = make_reference(tmp_path, "import time; time.sleep(0.05); return x + 1")
    assert 0.05 <= slow.forward_s < 5
