"""The suite checks itself: every mutant is rejected, every honest model passes, and a search refuses otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from helpers.problems import write_problem
from tricks import SMALL, problem_path, workload

from tuner import problem
from tuner.verification.self_check import SelfCheck, self_check

CHECKED: dict[tuple[str, str], SelfCheck] = {}

EVERYWHERE = {
    "zeros", "a constant", "sample 0 for all", "rolled batch", "previous result", "TF32 operands", "bf16",
    "one-pass variance", "no eps", "wrong eps", "unbiased variance", "dropped column", "stale statistics",
    "shifted mean", "statistics of the batch", "statistics of the first group",
    "missing group_norm.weight", "missing group_norm.bias",
}  # fmt: skip
OWN = {
    "gn_mean": {"missing conv.bias", "short reduction"},
    "hardswish_gn_mean": {"missing conv.bias", "short reduction", "no activation"},
    "relu_gn": {"no activation"},
    "gn_min_bias": {"missing gemm.bias", "missing bias", "short reduction"},
}


def checked(name: str, device: str = "cpu") -> SelfCheck:
    """The self-check of one problem, made once."""
    if (name, device) not in CHECKED:
        torch.set_num_threads(1)
        loaded = problem.load(problem_path(name))
        CHECKED[name, device] = self_check(loaded, workload(name), device, seed=7)
    return CHECKED[name, device]


@pytest.mark.parametrize("name", SMALL)
def test_every_mutant_is_caught(name: str) -> None:
    assert checked(name).missed == []
    assert set(checked(name).caught) == EVERYWHERE | OWN[name]


@pytest.mark.parametrize("name", SMALL)
def test_every_honest_model_passes(name: str) -> None:
    assert checked(name).refused == {}
    assert len(checked(name).passed) >= 5


def test_what_a_problem_has_no_place_for_is_left_out_with_the_reason() -> None:
    assert checked("gn_mean").left_out == {"no activation": "the reference calls no activation"}
    assert checked("relu_gn").left_out == {"short reduction": "the reference calls no reduction"}


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_rounding_to_bfloat16_is_a_mutant_where_the_error_budget_does_not_allow_it(
    tmp_path: Path, dtype: Literal["float16", "float64"]
) -> None:
    torch.set_num_threads(1)
    layer = "nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64))"
    loaded = write_problem(tmp_path, "return F.gelu(self.layer(x))", layer=layer, inputs="torch.randn(16, 64)")
    found = self_check(loaded, problem.default_workload(loaded).in_dtype(dtype), "cpu", seed=3)
    assert found.missed == []
    assert "bf16" in (found.left_out if dtype == "float16" else found.caught)


def test_what_makes_no_difference_is_left_out(tmp_path: Path) -> None:
    """A bias ahead of an InstanceNorm is subtracted again, and one case is of a model that has none."""
    path = tmp_path / "problem.py"
    path.write_text(
        "import torch\nimport torch.nn as nn\n\n\n"
        "class Model(nn.Module):\n"
        "    def __init__(self, channels, bias=True):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv1d(channels, channels, 1, bias=bias)\n"
        "        self.norm = nn.InstanceNorm1d(channels)\n\n"
        "    def forward(self, x):\n"
        "        return self.norm(self.conv(x))\n\n\n"
        "def get_inputs():\n    return [torch.rand(4, 3, 9)]\n\n\n"
        "def get_init_inputs():\n    return [3]\n"
    )
    loaded = problem.load(path)
    found = self_check(loaded, problem.default_workload(loaded), "cpu", seed=1)
    assert found.left_out["missing conv.bias"] == "it makes no difference to the result"
    assert found.missed == []


@pytest.mark.parametrize("forward", ["return torch.min(x, x.mean(1, keepdim=True))", "return torch.max(x, other=-x)"])
def test_the_smaller_of_two_tensors_is_no_reduction(forward: str, tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, forward)
    found = self_check(loaded, problem.default_workload(loaded), "cpu", seed=1)
    assert found.missed == [] and ("short reduction" in found.caught) == ("mean" in forward)


def test_a_dropped_element_of_a_long_row_is_noticed_in_a_half_precision_type(tmp_path: Path) -> None:
    """It weighs less than a rounding, so no values but a NaN tell of it."""
    torch.set_num_threads(1)
    forward = "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)"
    loaded = write_problem(tmp_path, forward, inputs="torch.randn(8, 2048)")
    found = self_check(loaded, problem.default_workload(loaded).in_dtype("bfloat16"), "cpu", seed=1)
    assert found.missed == [] and found.caught["short reduction"].startswith("G NaN ends one sample")


@pytest.fixture(scope="module")
def too_lenient() -> SelfCheck:
    torch.set_num_threads(1)
    loaded = problem.load(problem_path("gn_min_bias"))
    return self_check(loaded, workload("gn_min_bias"), "cpu", seed=7, error_budget=1e5, with_honest=False)


def test_a_budget_under_which_a_wrong_model_passes_is_noticed(too_lenient: SelfCheck) -> None:
    assert "TF32 operands" in too_lenient.missed
    assert too_lenient.fault.startswith("the suite finds nothing wrong with ") and "TF32" in too_lenient.fault


@pytest.mark.gpu
@pytest.mark.parametrize("name", SMALL)
def test_on_a_gpu(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = checked(name, "cuda")
    assert (found.missed, found.refused) == ([], {})
    assert len(found.caught) >= 14
