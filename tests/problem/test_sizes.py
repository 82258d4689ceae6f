"""Which sizes a reference takes, and workloads made of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tricks import SMALL, problem_path, workload

from tuner import problem
from tuner.problem import sizes

ODD = {
    "gn_mean": (5, 3, 11, 7, 13), "hardswish_gn_mean": (5, 3, 11, 7, 13),
    "relu_gn": (5, 6, 11, 7, 13), "gn_min_bias": (5, 32),
}  # fmt: skip
SMALLEST = {
    "gn_mean": (2, 3, 3, 3, 3), "hardswish_gn_mean": (2, 3, 4, 4, 4),
    "relu_gn": (2, 6, 1, 1, 1), "gn_min_bias": (2, 32),
}  # fmt: skip


def loaded(name: str) -> problem.Problem:
    return problem.load(problem_path(name))


@pytest.mark.parametrize("name", SMALL)
def test_sizes_become_odd_as_far_as_the_reference_lets_them(name: str) -> None:
    made = sizes.odd(loaded(name), workload(name))
    assert made.shapes == (ODD[name],)
    assert sizes.takes(loaded(name), made)


@pytest.mark.parametrize("name", SMALL)
def test_sizes_become_small_as_far_as_the_reference_lets_them(name: str) -> None:
    made = sizes.smallest(loaded(name), workload(name))
    assert made.shapes == (SMALLEST[name],)
    assert sizes.takes(loaded(name), made)


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("gn_mean", (3, 6, 3, 6)),
        ("hardswish_gn_mean", (3, 8, 4, 8, True)),
        ("relu_gn", (6, 8, 3, 8, False)),
        ("gn_min_bias", (32, 48, 48, (1, 48, 1, 1))),
    ],
)
def test_the_number_of_groups_is_found_among_the_arguments(name: str, init: tuple[object, ...]) -> None:
    found = sizes.one_channel_a_group(loaded(name), workload(name))
    assert found is not None and found.init == init


def test_true_and_false_arguments_are_turned_round() -> None:
    assert [w.init for _, w in sizes.flipped(loaded("relu_gn"), workload("relu_gn"))] == [(6, 8, 3, 2, True)]
    assert list(sizes.flipped(loaded("gn_mean"), workload("gn_mean"))) == []


def test_a_workload_that_the_reference_refuses_is_not_taken() -> None:
    wanted = workload("gn_mean")
    assert not sizes.takes(loaded("gn_mean"), wanted.with_init((3, 6, 3, 5)))
    assert not sizes.takes(loaded("gn_mean"), wanted.resized({(4, 10): 1}))


def test_a_size_follows_its_dimension_and_number() -> None:
    made = workload("gn_mean").resized({(0, 4): 7, (3, 8): 9, (4, 8): 1})
    assert made.shapes == ((7, 3, 6, 9, 10),)


def test_a_problem_without_groups_has_no_other_number_of_them(tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    path.write_text(
        "import torch\n\nModel = torch.nn.ReLU\n\n\ndef get_inputs():\n    return [torch.rand(2)]\n\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    relu = problem.load(path)
    assert sizes.one_channel_a_group(relu, problem.default_workload(relu)) is None


def test_every_residue_of_16_is_drawn_in_the_end() -> None:
    rng = random.Random(1)
    wanted = workload("gn_mean")
    made = [sizes.drawn(loaded("gn_mean"), wanted, (), rng.randrange).shapes[0] for _ in range(60)]
    assert {shape[4] % 16 for shape in made} == {*range(3, 16), 0}  # a kernel of 3 takes no less
    assert {shape[1] for shape in made} == {3}  # its weights say so


def test_a_reference_may_not_take_the_values_of_some_sizes(tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    path.write_text(
        "import torch\n\n\nclass Model(torch.nn.Module):\n    def forward(self, x, t):\n"
        "        return torch.nn.functional.cross_entropy(x, t)\n\n\n"
        "def get_inputs():\n    return [torch.rand(16, 8), torch.arange(16) % 8]\n\n\n"
        "def get_init_inputs():\n    return []\n"
    )
    loss = problem.load(path)
    own = loss.get_inputs()
    made = sizes.odd(loss, problem.default_workload(loss), own)
    assert made.shapes[0][0] == made.shapes[1][0] == 5 and made.shapes[0][1] >= 8
