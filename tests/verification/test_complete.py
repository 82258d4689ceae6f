"""The complete check of a candidate: every case, several seeds, repeats."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from helpers import problems
from helpers.complete import run_completely
from helpers.suites import Forward, Own, by_name, judged, make_suite, model_new

from tuner.records import CaseResult, Correctness
from tuner.verification import exams
from tuner.verification.cases import Case
from tuner.verification.suite import Suite


@pytest.fixture(scope="module")
def suite() -> Suite:
    return make_suite("gn_mean")


def outcome(suite: Suite, forward: Forward, seeds: int = 1) -> tuple[Correctness, dict[str, str]]:
    found = run_completely(suite, model_new(suite.reference, forward), seeds=seeds)
    return found, {case.name: case.detail for case in found.cases if not case.ok}


def test_a_right_candidate_passes_all_cases_of_all_seeds(suite: Suite) -> None:
    found, failed = outcome(suite, lambda own, x: own(x), seeds=3)
    assert failed == {}
    names = [case.name for case in found.cases]
    assert len(names) == len(set(names))
    assert "C common offset, seed 3" in names
    assert names[-1] == "own work"


def test_bits_that_change_once_in_a_hundred_calls_are_caught(suite: Suite) -> None:
    calls = [0]

    def forward(own: Own, x: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        y = own(x)
        return y if calls[0] % 90 else torch.nextafter(y, y + 1)

    failed = {name.partition(" ")[2]: said for name, said in outcome(suite, forward)[1].items()}
    assert "gives other bits than the first" in failed["repeats"]


def test_a_case_that_may_be_refused_says_of_what_inputs_it_is(suite: Suite) -> None:
    tuned = suite.workload.shapes[0][-1]
    failed = outcome(suite, lambda own, x: own(x) if x.shape[-1] == tuned else own(x)[..., :0])[1]
    assert failed
    for name, said in failed.items():
        assert name.startswith("I ") and re.search(
            r"\(inputs [0-9x]+; a host may refuse these by a RuntimeError\)$", said
        )


def test_a_constructor_that_refuses_other_arguments_has_answered(suite: Suite) -> None:
    right = model_new(suite.reference, lambda own, x: own(x))

    class Narrow(right):  # type: ignore[misc, valid-type]
        def __init__(self, channels: int, out: int, size: int, groups: int) -> None:
            if groups == out:
                raise ValueError("takes groups of several channels only")
            super().__init__(channels, out, size, groups)

    found = run_completely(suite, Narrow, seeds=1)
    answers = {case.name: case.detail for case in found.cases if "one channel" in case.name}
    assert all(case.ok for case in found.cases)
    assert set(answers.values()) == {"refused: takes groups of several channels only"}


def test_a_note_is_said_beside_a_right_answer(suite: Suite) -> None:
    case = by_name(suite)["E constant"]
    assert isinstance(case, Case)
    verdict = judged(dataclasses.replace(case, note="judged at 1e+15"), lambda own, x: own(x))
    assert (verdict.ok, verdict.detail) == (True, "judged at 1e+15")


@pytest.mark.parametrize("name", ["hardswish_gn_mean", "relu_gn", "gn_min_bias"])
def test_the_reference_s_own_values_pass_on_every_problem(name: str) -> None:
    assert outcome(make_suite(name, 6), lambda own, x: own(x))[1] == {}


@pytest.mark.gpu
def test_on_a_gpu_the_reference_s_own_values_pass() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert outcome(make_suite("gn_mean", 6, "cuda"), lambda own, x: own(x))[1] == {}


@pytest.mark.parametrize(
    ("forward", "parts"),
    [
        ("return x * 2", {"inputs": "torch.rand(())"}),
        ("return x + 1", {"inputs": "torch.rand(0, 8)"}),
        ("return self.layer(x)", {"layer": "nn.Embedding(32, 8)", "inputs": "torch.randint(0, 32, (16, 5))"}),
        ("return self.layer(x)", {"layer": "nn.BatchNorm1d(8)"}),
    ],
    ids=["0-d", "empty", "integers", "buffers"],
)
def test_a_complete_exam_has_what_a_confirmed_record_holds_whatever_the_problem(
    tmp_path: Path, forward: str, parts: dict[str, str]
) -> None:
    asked = []
    for question in exams.complete(problems.make_suite(tmp_path, forward, **parts)):
        if isinstance(question, CaseResult):
            asked.append(question)
        else:
            question.done(True)
            asked.append(CaseResult(name=question.case.name, ok=True))
    found = Correctness(cases=tuple(asked), error_ratio=0.0, agrees_with_eager=True)
    assert found.evidence_fault == "no own work, no timed values, no time from outside, no repeats"
