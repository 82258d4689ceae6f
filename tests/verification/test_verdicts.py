"""Problems of many kinds: honest candidates pass, wrong ones do not, and what cannot be judged is said to be so."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from helpers.complete import run_completely
from helpers.problems import make_suite, write_problem
from torch import nn
from tricks import unseen

from tuner import problem
from tuner.errors import UnjudgeableError
from tuner.verification.self_check import SelfCheck, self_check
from tuner.verification.suite import Suite


@dataclass(frozen=True)
class Kind:
    """A kind of problem: its forward, its inputs, and mutants that no case can tell from right ones."""

    forward: str
    parts: dict[str, str] = field(default_factory=dict)
    missed: frozenset[str] = frozenset()


KINDS = {
    "sign": Kind("return self.layer(x).sign()", {"layer": "nn.Linear(8, 4)"}),
    "argmax": Kind("return x.argmax(1)"),
    "cross-entropy": Kind(
        "return F.cross_entropy(x, t)",
        {"arguments": "x, t", "inputs": "torch.randn(16, 8), torch.randint(0, 8, (16,))"},
    ),
    "KL divergence": Kind(
        "return F.kl_div(x.log(), t, reduction='batchmean')",
        {"arguments": "x, t", "inputs": "torch.rand(16, 8).softmax(1), torch.rand(16, 8).softmax(1)"},
    ),
    "masked cumsum": Kind(
        "return (x * mask).cumsum(1)",
        {"arguments": "x, mask", "inputs": "torch.rand(16, 8), torch.rand(16, 8) > 0.5"},
    ),
    "cumsum over the first dimension": Kind("return x.cumsum(0)"),
    "embedding": Kind(
        "return self.layer(x)", {"layer": "nn.Embedding(32, 8)", "inputs": "torch.randint(0, 32, (16, 5))"}
    ),
    "matmul of two inputs": Kind(
        "return torch.matmul(x, w)", {"arguments": "x, w", "inputs": "torch.rand(64, 32), torch.rand(16, 32).t()"}
    ),
    "matmul of two squares": Kind(
        "return torch.matmul(x, w)", {"arguments": "x, w", "inputs": "torch.rand(8, 8), torch.rand(8, 8)"}
    ),
    "BatchNorm in training mode": Kind("return self.layer(x)", {"layer": "nn.BatchNorm1d(8)"}),
    "GRU with the sequence first": Kind(
        "return self.layer(x)", {"layer": "nn.GRU(8, 6)", "inputs": "torch.rand(5, 3, 8)"}
    ),
    "named results": Kind("return x.topk(3)"),
    "LSTM": Kind("return self.layer(x)", {"layer": "nn.LSTM(8, 6, batch_first=True)", "inputs": "torch.rand(4, 5, 8)"}),
    "an empty batch": Kind("return x + 1", {"inputs": "torch.rand(0, 8)"}),
    "two results": Kind("return x.max(1)[0], x.argmax(1)"),
    "half": Kind("return x * 2 + 1", {"inputs": "torch.rand(16, 8).half()"}),
    "bfloat16": Kind("return x.sigmoid()", {"inputs": "torch.rand(16, 8).bfloat16()"}),
    "0-d": Kind("return x * 2", {"inputs": "torch.rand(())"}),
    "an expanded input": Kind("return x + 1", {"inputs": "torch.rand(1, 8).expand(16, 8)"}),
    "a constant made in the forward": Kind("return x @ torch.ones(8, 4)"),
    "probabilities alone": Kind(
        "return F.binary_cross_entropy(x, t)",
        {"arguments": "x, t", "inputs": "torch.rand(16, 8), torch.rand(16, 8)"},
    ),
    "memory in order alone": Kind("return torch.view_as_complex(x.view(-1, 2)).abs()"),
    "truth values": Kind("return x > 0.5"),
}


def honest(suite: Suite) -> type[nn.Module]:
    """The reference, as if a kernel of its own computed it."""
    model = type(suite.reference.model)

    def forward(self: nn.Module, *inputs: torch.Tensor) -> object:
        with unseen():
            return model.forward(self, *inputs)

    return type("Honest", (model,), {"forward": forward})


def failures(suite: Suite, candidate: type[nn.Module]) -> dict[str, str]:
    return {case.name: case.detail for case in run_completely(suite, candidate, seeds=1).cases if not case.ok}


def checked(loaded: problem.Problem) -> SelfCheck:
    return self_check(loaded, problem.default_workload(loaded), "cpu", seed=5)


@pytest.mark.parametrize("name", KINDS)
def test_an_honest_candidate_is_right(tmp_path: Path, name: str) -> None:
    suite = make_suite(tmp_path, KINDS[name].forward, **KINDS[name].parts)
    assert failures(suite, honest(suite)) == {}


@pytest.mark.parametrize("name", KINDS)
def test_mutants_are_caught_and_honest_models_pass(tmp_path: Path, name: str) -> None:
    found = checked(write_problem(tmp_path, KINDS[name].forward, **KINDS[name].parts))
    assert found.refused == {} and set(found.missed) == KINDS[name].missed
    assert "zeros" in found.caught and "the reference" in found.passed


def changed(suite: Suite, body: str) -> type[nn.Module]:
    """A candidate whose forward is these lines, which PyTorch's operators computed unseen."""
    names: dict[str, object] = {"Model": type(suite.reference.model), "torch": torch, "unseen": unseen}
    lines = "".join(f"            {line}\n" for line in body.splitlines())
    exec(
        f"class ModelNew(Model):\n    def forward(self, x):\n        with unseen():\n{lines}",
        names,
    )
    made = names["ModelNew"]
    assert isinstance(made, type)
    return made


@pytest.mark.parametrize(
    ("forward", "parts", "body", "case"),
    [
        ("return x.cumsum(0)", {}, "return x.clone()", "A random affine"),
        (
            "return x.logsumexp(1)",
            {"inputs": "torch.randn(16, 8)"},
            "top = x.max(1, keepdim=True)[0].clamp(min=0)\nreturn (x - top).exp().sum(1).log() + top[:, 0]",
            "J large and negative",
        ),
        (
            "return self.layer(x)",
            {"layer": "nn.BatchNorm1d(8)"},
            "n = self.layer\nreturn (x - n.running_mean) / (n.running_var + n.eps).sqrt() * n.weight + n.bias",
            "A random affine",
        ),
        (
            "return self.layer(x)",
            {"layer": "nn.BatchNorm1d(8)"},
            "return torch.nn.functional.batch_norm(x, None, None, self.layer.weight, self.layer.bias, True)",
            "A random affine",
        ),
        (
            "return self.layer(x)",
            {"layer": "nn.BatchNorm1d(8)"},
            "self.layer.train()\nreturn Model.forward(self, x)",
            "K evaluation mode",
        ),
        ("return x.argmax(1)", {}, "return x.argmin(1)", "A random affine"),
        (
            "return self.layer(x).relu()",
            {"layer": "nn.LayerNorm(8)"},
            "return Model.forward(self, x.clamp(-3, 1e20))",
            "J large and negative",
        ),
        (
            "return self.layer(x).relu()",
            {"layer": "nn.LayerNorm(8)", "inputs": "torch.rand(256, 8)"},
            "y = Model.forward(self, x)\nreturn y.half().float() if 2 <= len(x) < 256 and len(x) != 8 else y",
            "I fewer samples, A",
        ),
        (
            "return self.layer(x).relu()",
            {"layer": "nn.LayerNorm(8)"},
            "y = Model.forward(self, x)\nreturn y.half().float() if len(x) > 16 else y",
            "I more samples, A",
        ),
        ("return x, x + 1", {}, "return x.clone(), x.clone()", "A random affine"),
    ],
)
def test_a_wrong_candidate_is_caught(tmp_path: Path, forward: str, parts: dict[str, str], body: str, case: str) -> None:
    suite = make_suite(tmp_path, forward, **parts)
    assert case in failures(suite, changed(suite, body))


def test_a_random_reference_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(UnjudgeableError, match="the reference is random"):
        make_suite(tmp_path, "return F.dropout(x, 0.5)")


def test_a_result_that_is_zero_but_for_rounding_cannot_be_judged(tmp_path: Path) -> None:
    found = checked(
        write_problem(tmp_path, "return self.layer(x).sum(1)", layer="nn.LayerNorm(8, elementwise_affine=False)")
    )
    assert "zeros" in found.missed


def test_values_beyond_the_domain_are_not_judged_and_said(tmp_path: Path) -> None:
    kind = KINDS["KL divergence"]
    suite = make_suite(tmp_path, kind.forward, **kind.parts)
    cases = {case.name: case for case in run_completely(suite, honest(suite), seeds=1).cases}
    said = "not judged: outside the problem's domain, its result is not finite"
    assert (cases["E all zero"].ok, cases["E all zero"].detail) == (True, said)


def test_a_reference_that_float64_does_not_suit_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(UnjudgeableError, match="it cannot be computed in float64"):
        make_suite(tmp_path, "return x @ torch.frombuffer(bytearray(256), dtype=torch.float32).view(8, 8)")


def test_a_reference_that_widens_by_itself_is_judged_in_float64(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, "return (x.float() @ torch.ones(8, 8, dtype=torch.float32)).to(x.dtype)")
    assert failures(suite, honest(suite)) == {}


def test_a_reference_that_is_nowhere_finite_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(UnjudgeableError, match=r"no case can judge it: not judged: .* is not finite"):
        make_suite(tmp_path, "return x / 0")


@pytest.mark.parametrize(
    ("forward", "layer"),
    [
        ("return F.gelu(x - x.amax(1, keepdim=True)).clamp(0, 0)", ""),
        ("return x[:, :1].argmax(1)", ""),
        ("return torch.softmax(self.layer(x), 1)", "nn.Linear(8, 1)"),
        ("return torch.full_like(x, 0.75)", ""),
        ("return self.layer.bias.expand(x.shape[0], -1)", "nn.Linear(8, 4)"),
    ],
)
def test_a_result_that_no_input_changes_cannot_be_judged(tmp_path: Path, forward: str, layer: str) -> None:
    with pytest.raises(UnjudgeableError, match="its result does not depend on its inputs"):
        make_suite(tmp_path, forward, layer=layer)


def test_a_constant_beside_statistics_that_are_kept_is_judged(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, "return torch.ones_like(self.layer(x))", layer="nn.BatchNorm1d(8)")
    assert failures(suite, honest(suite)) == {}


def test_the_other_mode_may_be_refused(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, "return self.layer(x)", layer="nn.BatchNorm1d(8)")
    body = "if not self.training:\n    raise RuntimeError('training mode alone')\nreturn Model.forward(self, x)"
    assert failures(suite, changed(suite, body)) == {}
