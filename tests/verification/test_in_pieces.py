"""Large workloads: judged once and in pieces, all else on few samples, within a share of the device's memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.problems import make_reference, make_suite, write_problem

from tuner import problem
from tuner.backends.cpu import Cpu
from tuner.errors import UnjudgeableError
from tuner.records import CaseResult
from tuner.verification import criterion, in_pieces
from tuner.verification.answers import Answer
from tuner.verification.cases import Case
from tuner.verification.complete import winner_cases, with_seed
from tuner.verification.criterion import judge
from tuner.verification.exams import agreement
from tuner.verification.judge import Judge
from tuner.verification.papers import Perturbation, Values
from tuner.verification.parameters import State, Tensors
from tuner.verification.perturbation import perturbed, perturbed_samples
from tuner.verification.pieces import SHARE, chunks
from tuner.verification.self_check import self_check
from tuner.verification.suite import Suite

Change = Callable[[torch.Tensor], torch.Tensor]  # of a right answer

SOFTMAX, ROWS = "return torch.softmax(x * 8, 1)", "torch.rand(96, 512)"
LOSS, TWO = "return ((x - y) ** 2).mean()", "torch.rand(64, 512), torch.rand(64, 512)"
NORM = "return ((x - y) ** 2).sum().sqrt()"


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of 3 MB, for inputs of 200 kB."""
    monkeypatch.setattr(Cpu, "memory_bytes", lambda self: 3_000_000)
    monkeypatch.setattr(Cpu, "free_bytes", lambda self: 2_500_000)


def suite_of(folder: Path, forward: str = SOFTMAX, inputs: str = ROWS, arguments: str = "x") -> Suite:
    return make_suite(folder, forward, inputs=inputs, arguments=arguments)


def eager(case: Case) -> torch.Tensor:
    (y,) = case.reference.eager(case.state, case.inputs).tensors
    return y


def test_chunks_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.verification.pieces.CHUNK", 5)
    x = torch.arange(42.0).view(3, 14).t()
    parts = [part for (part,) in chunks(x)]
    assert max(part.numel() for part in parts) <= 5
    assert sorted(torch.cat([part.flatten() for part in parts]).tolist()) == x.flatten().sort().values.tolist()


def test_an_oracle_in_pieces_expects_what_a_whole_one_does(tmp_path: Path, small_memory: None) -> None:
    reference = make_reference(tmp_path, SOFTMAX, inputs=ROWS)
    inputs = reference.inputs(5)
    whole = reference.expectation(reference.state, inputs)
    found = in_pieces.expectation(reference, reference.state, lambda: inputs)
    assert found.pieces is not None and whole.pieces is None
    assert len(list(found.pieces())) > 1
    assert (found.structure, found.large, found.main.kind) == (whole.structure, whole.large, whole.main.kind)
    assert found.main.allowed == pytest.approx(whole.main.allowed, rel=0.5)
    assert found.main.eager.shape == whole.main.eager.shape
    oracle = torch.cat([piece.oracle[0] for piece in found.pieces()])
    assert torch.allclose(oracle, whole.main.oracle, rtol=1e-12)


def test_the_error_of_eager_s_call_on_all_samples_counts(tmp_path: Path, small_memory: None) -> None:
    """As where a library takes another algorithm for many rows than for few."""
    reference = make_reference(
        tmp_path, "return x * (1.001 if len(x) == 96 and x.dtype == torch.float32 else 1)", inputs=ROWS
    )
    inputs = reference.inputs(5)
    whole = reference.expectation(reference.state, inputs)
    found = in_pieces.expectation(reference, reference.state, lambda: inputs)
    assert found.main.reference_error == pytest.approx(whole.main.reference_error, rel=1e-3)
    assert found.main.allowed == pytest.approx(whole.main.allowed, rel=1e-3)


def test_no_oracle_of_a_large_case_is_kept(tmp_path: Path, small_memory: None) -> None:
    expected = suite_of(tmp_path).cases[0].expected.main
    assert expected.oracle.untyped_storage().nbytes() + expected.eager.untyped_storage().nbytes() < 100


def test_the_full_size_is_judged_once(tmp_path: Path, small_memory: None) -> None:
    suite = suite_of(tmp_path)
    assert [case.inputs[0].shape[0] for case in suite.cases] == [96, 8, 8, 8]
    assert all(case.inputs[0].shape[0] <= 4 for case in with_seed(suite, 2).cases)
    beyond = [case for case in winner_cases(suite.reference) if isinstance(case, Case)]
    assert beyond and all(case.expected.pieces is None for case in beyond)


def test_a_right_answer_of_a_large_case_passes(tmp_path: Path, small_memory: None) -> None:
    case = suite_of(tmp_path).cases[0]
    verdict = judge(case.name, case.expected, eager(case))
    assert verdict.ok and verdict.error is not None and verdict.error > 0


@pytest.mark.parametrize("at", [(0, 0), (50, 100), (95, 511)])
def test_one_wrong_element_of_a_large_case_is_found(tmp_path: Path, small_memory: None, at: tuple[int, int]) -> None:
    case = suite_of(tmp_path).cases[0]
    y = eager(case)
    y[at] += 0.5
    assert not judge(case.name, case.expected, y).ok
    y[at] = torch.nan
    assert "1 elements are NaN" in judge(case.name, case.expected, y).detail


def test_what_an_index_that_wraps_leaves_unwritten_is_found(tmp_path: Path, small_memory: None) -> None:
    """As a 32-bit index does beyond 2^31: from there on the beginning is written again, here after 2^15."""
    case = suite_of(tmp_path).cases[0]
    y, limit = eager(case).flatten(), 2**15
    y[limit:] = y[: y.numel() - limit].clone()
    assert not judge(case.name, case.expected, y.view(96, 512)).ok


def test_agreement_with_eager_is_told_in_pieces(tmp_path: Path, small_memory: None) -> None:
    suite = suite_of(tmp_path)
    question = agreement(suite)
    y = eager(question.case)
    assert question.judge(Answer.of(y)).ok
    y[95, 511] += 0.01
    assert not question.judge(Answer.of(y)).ok
    assert not question.judge(Answer.of((y, y))).ok


def test_integers_are_compared_in_pieces(tmp_path: Path, small_memory: None) -> None:
    case = suite_of(tmp_path, "return x.argmax(1)").cases[0]
    y = eager(case)
    assert case.expected.pieces is not None and judge(case.name, case.expected, y).ok
    y[95] = (y[95] + 1) % 512
    assert judge(case.name, case.expected, y).detail == "1 elements differ"


def test_a_mean_over_samples_is_that_of_its_pieces(
    tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = make_reference(tmp_path, LOSS, inputs=TWO, arguments="x, y")
    inputs, sizes = reference.inputs(5), list[int]()
    whole, oracle = reference.expectation(reference.state, inputs), reference.oracle

    def noted(state: State, given: Tensors) -> Answer:
        sizes.append(len(given[0]))
        return oracle(state, given)

    monkeypatch.setattr(reference, "oracle", noted)
    found = in_pieces.expectation(reference, reference.state, lambda: inputs)
    assert reference.averaged == (0, 1) and sum(sizes[3:]) == 64 and max(sizes[3:]) < 64
    assert torch.allclose(found.main.oracle, whole.main.oracle, rtol=1e-12)
    assert found.main.allowed == pytest.approx(whole.main.allowed, rel=1e-6)


def test_what_is_no_mean_after_all_is_one_piece(tmp_path: Path, small_memory: None) -> None:
    """Means of few samples, and something else of many."""
    forward = "return ((x - y) ** 2).mean() * (1 + (len(x) > 40))"
    reference = make_reference(tmp_path, forward, inputs=TWO, arguments="x, y")
    inputs = reference.inputs(5)
    found = in_pieces.expectation(reference, reference.state, lambda: inputs)
    assert reference.averaged == (0, 1) and found.pieces is not None
    assert found.main.reference_error < 1e-6


def test_a_large_result_of_everything_is_judged_as_one_piece(tmp_path: Path, small_memory: None) -> None:
    suite = suite_of(tmp_path, NORM, TWO, "x, y")
    first, *others = suite.cases
    assert suite.reference.batch is None and first.expected.pieces is not None and not first.may_refuse
    assert judge(first.name, first.expected, eager(first)).ok
    assert not judge(first.name, first.expected, eager(first) * 1.00001).ok
    assert others and all(case.may_refuse and case.inputs[0].numel() < 100 for case in others)


def test_a_case_that_does_not_fit_is_of_fewer_samples_and_says_so(
    tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cpu, "free_bytes", lambda self: 600_000)
    suite = suite_of(tmp_path)
    samples = suite.cases[0].inputs[0].shape[0]
    assert samples < 96 and suite.cases[0].note == f"judged on {samples} of 96 samples: more do not fit"
    assert suite.timed_inputs[0].shape[0] == 96


@pytest.mark.parametrize(("forward", "inputs", "arguments"), [(SOFTMAX, ROWS, "x"), (LOSS, TWO, "x, y")])
def test_where_nothing_fits_one_line_says_so(
    tmp_path: Path, small_memory: None, monkeypatch: pytest.MonkeyPatch, forward: str, inputs: str, arguments: str
) -> None:
    monkeypatch.setattr(Cpu, "free_bytes", lambda self: 3_000)
    with pytest.raises(UnjudgeableError, match=r"takes .* GB, and 3e-06 GB of .* memory are") as caught:
        suite_of(tmp_path, forward, inputs, arguments)
    assert "\n" not in str(caught.value)


def test_the_mutants_of_a_large_workload_are_caught(tmp_path: Path, small_memory: None) -> None:
    suite = suite_of(tmp_path)
    found = self_check(suite.problem, suite.workload, "cpu", 3)
    assert found.caught and not found.missed and not found.refused


def test_a_footprint_follows_the_samples_and_not_the_parameters(tmp_path: Path) -> None:
    reference = make_reference(tmp_path, "return self.layer(x)", inputs="torch.rand(16, 64)", layer="nn.Linear(64, 32)")
    found = reference.footprint(reference.inputs(1))
    assert (found.inputs, found.results, found.largest) == (16 * 64 * 4, 16 * 32 * 4, 16 * 32 * 4)


def test_what_fits_is_judged_as_it_was(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    assert not suite.reference.is_large and suite.cases[0].expected.pieces is None


PEAK = """
import resource, sys, torch
from pathlib import Path
from helpers.problems import write_problem
from tuner import problem
from tuner import problem
from tuner.backends.cpu import Cpu
from tuner.verification.criterion import judge
from tuner.verification.suite import Suite

torch.set_num_threads(1)
memory = 2**29
Cpu.memory_bytes = Cpu.free_bytes = lambda self: memory
loaded = write_problem(Path(sys.argv[1]), "return torch.sigmoid(x)", "torch.rand(1024, 16384)")
torch.sigmoid(torch.rand(64, 64))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
suite = Suite(loaded, problem.default_workload(loaded), "cpu", 3)
case = suite.cases[0]
assert case.inputs[0].nbytes == 2**26 and case.expected.pieces is not None
y = case.inputs[0].sigmoid()
assert judge(case.name, case.expected, y).ok
y[-1, -1] += 1
assert not judge(case.name, case.expected, y).ok
held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print((held - 2**26) / memory)
"""


def test_64_megabytes_are_judged_within_the_share(tmp_path: Path) -> None:
    """Of half a gigabyte, beside the inputs: by the process's largest resident size."""
    tests = Path(__file__).parents[1]
    path = [str(tests), str(tests.parent)]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{PEAK}", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert float(ran.stdout) < SHARE


# ---- some samples of a timed run ---------------------------------------------------------------------


@pytest.fixture
def judge_of_softmax(tmp_path: Path, small_memory: None) -> Judge:
    loaded = write_problem(tmp_path, SOFTMAX, inputs="torch.rand(192, 256)")
    return Judge(loaded, problem.default_workload(loaded), "cpu", 5, 8.0, tmp_path / "papers")


def answered(judge: Judge, change: Change = lambda y: y) -> CaseResult:
    """The verdict on what a candidate gives for marked values, changed."""
    plan = judge.plan(4, Values.MARKED)
    (by,) = (each for each in plan.values if each in judge.secret)
    (x,) = perturbed(judge.timed_inputs, by)
    return criterion.judge("timed values", judge.secret[by], change(torch.softmax(x * 8, 1)))


def test_some_samples_of_perturbed_inputs_are_theirs(judge_of_softmax: Judge) -> None:
    for by in (Perturbation(0.37, 0.999), Perturbation(1e-6, 1.0), Perturbation(1 - 1e-6, 0.997)):
        (x,) = judge_of_softmax.timed_inputs
        numbers = [0, 3, 190, 191]
        assert torch.equal(perturbed_samples(x, by, numbers, x.device), perturbed([x], by)[0][numbers])


def test_a_large_timed_answer_is_judged_at_some_samples(judge_of_softmax: Judge) -> None:
    assert answered(judge_of_softmax).ok
    found = answered(judge_of_softmax, lambda y: y * (torch.arange(192) % 2 * 0.5)[:, None])
    assert not found.ok and found.error is not None


def test_which_samples_is_drawn_each_time(judge_of_softmax: Judge) -> None:
    """A candidate that leaves a few samples out is found now and then."""
    verdicts = [answered(judge_of_softmax, lambda y: y * (torch.arange(192) < 180)[:, None]).ok for _ in range(40)]
    assert 0 < verdicts.count(False) < 40
