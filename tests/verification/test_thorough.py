"""Cases E to I, repeats, several seeds, and compute-sanitizer."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.tricks import SMALL, problem_path, unseen, workload

from tuner import problem
from tuner.verification import thorough
from tuner.verification.suite import Suite
from tuner.verification.thorough import Item, Thorough, takes


def loaded(name):
    return problem.load(problem_path(name))


@pytest.fixture(scope="module")
def suite():
    torch.set_num_threads(1)
    return Suite(loaded("gn_mean"), workload("gn_mean"), "cpu", 4)


@pytest.fixture(scope="module")
def items(suite):
    return {item.name: item for item in Thorough(suite).items()}


def model_new(suite, forward):
    """A candidate class whose forward is given the reference's own and the input."""
    original = type(suite.reference).forward

    def own(self, x):
        with unseen():  # stands for a kernel of its own
            return original(self, x)

    return type("Changed", (type(suite.reference),), {"forward": lambda self, x: forward(lambda x: own(self, x), x)})


def judged(suite, items, name, forward):
    item = items[name]
    return thorough.judge(item.suite.build(model_new(suite, forward)), item)


# ---- other sizes ----

BY_NAME = {
    "gn_mean": {"odd": (5, 3, 11, 7, 13), "smallest": (2, 3, 3, 3, 3)},
    "hardswish_gn_mean": {"odd": (5, 3, 11, 7, 13), "smallest": (2, 3, 4, 4, 4)},
    "relu_gn": {"odd": (5, 6, 11, 7, 13), "smallest": (2, 6, 1, 1, 1)},
    "gn_min_bias": {"odd": (5, 32), "smallest": (2, 32)},
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("way", ["odd", "smallest"])
def test_sizes_change_as_far_as_the_reference_lets_them(name, way):
    made = getattr(thorough, way)(loaded(name), workload(name))
    assert made.shapes == (BY_NAME[name][way],)
    assert takes(loaded(name), made) is not None


@pytest.mark.parametrize(
    ("name", "init"),
    [
        ("gn_mean", (3, 6, 3, 6)),
        ("hardswish_gn_mean", (3, 8, 4, 8, True)),
        ("relu_gn", (6, 8, 3, 8, False)),
        ("gn_min_bias", (32, 48, 48, (1, 48, 1, 1))),
    ],
)
def test_the_number_of_groups_is_found_among_the_arguments(name, init):
    found = thorough.one_channel_a_group(loaded(name), workload(name))
    assert found is not None and found.init == init


def test_true_and_false_arguments_are_turned_round():
    assert [w.init for _, w in thorough.flipped(loaded("relu_gn"), workload("relu_gn"))] == [(6, 8, 3, 2, True)]
    assert list(thorough.flipped(loaded("gn_mean"), workload("gn_mean"))) == []


@pytest.mark.parametrize(("name", "dim"), [("gn_mean", 0), ("relu_gn", 0), ("gn_min_bias", 2)])
def test_the_batch_is_found_in_the_result(name, dim):
    assert thorough.batch_dim(loaded(name), workload(name)) == dim


def test_a_workload_that_the_reference_refuses_is_not_taken():
    wanted = workload("gn_mean")
    assert takes(loaded("gn_mean"), wanted.with_init((3, 6, 3, 5))) is None
    assert takes(loaded("gn_mean"), wanted.resized({(4, 10): 1})) is None


# ---- the cases ----


def test_every_letter_is_there(items):
    assert [name[0] for name in items] == sorted(name[0] for name in items)
    assert {name[0] for name in items} == set("EFGHI")
    for name in ("H non-contiguous", "H offset of one element", "H channels-last", "I batch 1, A",
                 "I one channel a group, C", "I smallest sizes, D", "F denormals", "E all zero"):  # fmt: skip
        assert name in items


def test_the_layouts_are_what_they_say(items):
    (spaced,), (shifted,), (last,) = (
        items[f"H {name}"].case.inputs for name in ("non-contiguous", "offset of one element", "channels-last")
    )
    assert not spaced.is_contiguous()
    assert shifted.storage_offset() == 1
    assert last.is_contiguous(memory_format=torch.channels_last_3d)


def test_only_the_sample_with_nan_is_nan(items):
    assert items["G NaN in one sample"].case.oracle.isnan().tolist() == [False, False, True, False]


def test_nan_that_reaches_other_samples_is_caught(suite, items):
    verdict = judged(suite, items, "G NaN in one sample", lambda own, x: own(x) + x.sum() * 0)
    assert not verdict.ok


def test_nan_that_is_lost_is_caught(suite, items):
    verdict = judged(suite, items, "G NaN in one sample", lambda own, x: own(x.nan_to_num()))
    assert not verdict.ok


def test_where_the_reference_overflows_a_lesser_magnitude_is_judged(items):
    item = items["F magnitude"]
    largest = item.case.inputs[0].abs().max().item()
    if item.note:
        assert item.note.startswith("not judged at 1e+18: the float32 reference itself is not right there; judged at ")
    assert 1e8 < largest <= 1e18


def test_a_case_on_which_the_reference_fails_is_only_a_note(suite):
    case = suite.cases[0]
    bad = Suite.prepare(suite, "X", case.state, case.inputs)
    bad.reference_error = math.inf
    item = Thorough(suite)._judgeable(bad, "X")
    assert item.case is None
    assert item.note == "not judged: the float32 reference itself is not right here"


def test_overflow_is_caught_where_the_reference_holds(suite, items):
    name = "F magnitude"
    scale = items[name].case.inputs[0].abs().max()
    assert judged(suite, items, name, lambda own, x: own(x)).ok
    assert not judged(suite, items, name, lambda own, x: own(x.clamp(max=scale / 2))).ok


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, NotImplementedError])
def test_another_layout_may_be_refused_with_a_clear_error(suite, items, kind):
    def refuse(own, x):
        if not x.is_contiguous():
            raise kind("takes contiguous tensors only")
        return own(x)

    verdict = judged(suite, items, "H non-contiguous", refuse)
    assert (verdict.ok, verdict.detail) == (True, "refused: takes contiguous tensors only")


def test_plain_values_may_not_be_refused(suite, items):
    def refuse(own, x):
        raise RuntimeError("takes nothing")

    verdict = judged(suite, items, "E constant", refuse)
    assert (verdict.ok, verdict.detail) == (False, "RuntimeError: takes nothing")


def test_an_error_without_a_word_is_no_refusal(suite, items):
    def refuse(own, x):
        raise RuntimeError

    assert not judged(suite, items, "H non-contiguous", refuse).ok


def test_another_layout_may_not_be_wrong(suite, items):
    def flat(own, x):
        return own(x.as_strided(x.shape, torch.empty(x.shape).stride(), x.storage_offset()))

    assert not judged(suite, items, "H transposed", flat).ok


# ---- the whole check ----


def outcome(suite, forward, seeds=1):
    found = thorough.check(suite, model_new(suite, forward), seeds=seeds)
    return found, {case.name: case.detail for case in found.cases if not case.ok}


def test_a_right_candidate_passes_all_cases_of_all_seeds(suite):
    found, failed = outcome(suite, lambda own, x: own(x), seeds=3)
    assert failed == {}
    names = [case.name for case in found.cases]
    assert len(names) == len(set(names))
    assert "C common offset, seed 3" in names
    assert names[-1] == "own work"


def test_bits_that_change_once_in_a_hundred_calls_are_caught(suite):
    calls = [0]

    def forward(own, x):
        calls[0] += 1
        y = own(x)
        return y if calls[0] % 90 else torch.nextafter(y, y + 1)

    assert f"{thorough.REPEATS} repeats" in outcome(suite, forward)[1]


def test_a_constructor_that_refuses_other_arguments_has_answered(suite):
    right = model_new(suite, lambda own, x: own(x))

    class Narrow(right):
        def __init__(self, channels, out, size, groups):
            if groups == out:
                raise ValueError("takes groups of several channels only")
            super().__init__(channels, out, size, groups)

    found = thorough.check(suite, Narrow, seeds=1)
    answers = {case.name: case.detail for case in found.cases if "one channel" in case.name}
    assert all(case.ok for case in found.cases)
    assert set(answers.values()) == {"refused: takes groups of several channels only"}


@pytest.mark.parametrize("name", ["hardswish_gn_mean", "relu_gn", "gn_min_bias"])
def test_the_reference_s_own_values_pass_on_every_problem(name):
    torch.set_num_threads(1)
    suite = Suite(loaded(name), workload(name), "cpu", 6)
    assert outcome(suite, lambda own, x: own(x))[1] == {}


# ---- compute-sanitizer ----


def test_a_missing_sanitizer_is_a_note(monkeypatch):
    monkeypatch.setattr(thorough.shutil, "which", lambda name: None)
    found = thorough.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cuda:0")
    assert [(c.name, c.ok, c.detail) for c in found] == [
        (f"compute-sanitizer {tool}", True, "skipped: compute-sanitizer was not found")
        for tool in ("memcheck", "racecheck")
    ]


def test_a_cpu_needs_no_sanitizer():
    assert thorough.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cpu") == []


TOOL = "#!/bin/sh\necho '========= Invalid __global__ write of size 4 bytes'\nexit {code}\n"


@pytest.mark.parametrize(
    ("code", "ok", "said"),
    [
        (0, True, ""),
        (thorough.FOUND, False, "Invalid __global__ write of size 4 bytes"),
        (1, True, "skipped: Invalid __global__ write of size 4 bytes"),
    ],
)
def test_the_sanitizer_s_exit_code_decides(tmp_path, monkeypatch, code, ok, said):
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(TOOL.format(code=code))
    tool.chmod(0o755)
    monkeypatch.setattr(thorough.shutil, "which", lambda name: str(tool))
    for case in thorough.sanitize(loaded("gn_mean"), workload("gn_mean"), problem_path("gn_mean"), "cuda:0"):
        assert (case.ok, case.detail) == (ok, said)


@pytest.mark.gpu
def test_on_a_gpu_the_reference_s_own_values_pass():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    suite = Suite(loaded("gn_mean"), workload("gn_mean"), "cuda", 6)
    assert outcome(suite, lambda own, x: own(x))[1] == {}


OUT_OF_BOUNDS = """
__global__ void beyond(float* y, long long n) { y[n + threadIdx.x + %s] = 0.f; }
extern "C" void launch(float* y, long long n, void* stream) {
  beyond<<<1, 1, 0, (cudaStream_t)stream>>>(y, n);
}
"""


@pytest.mark.gpu
@pytest.mark.parametrize(("offset", "ok"), [("(-1)", True), ("(1 << 20)", False)])
def test_on_a_gpu_memcheck_finds_a_write_out_of_bounds(tmp_path, offset, ok):
    import shutil
    import subprocess

    from tuner.backends import toolchain

    if not torch.cuda.is_available() or toolchain.nvcc() is None or shutil.which("compute-sanitizer") is None:
        pytest.skip("no CUDA device, nvcc or compute-sanitizer")
    (tmp_path / "beyond.cu").write_text(OUT_OF_BOUNDS % offset)
    library = tmp_path / "beyond.so"
    source = tmp_path / "beyond.cu"
    subprocess.run([toolchain.nvcc(), "-shared", "-Xcompiler", "-fPIC", "-o", library, source], check=True)
    file = tmp_path / "candidate.py"
    file.write_text(
        problem_path("gn_mean").read_text().replace("class Model(", "class ModelNew(").replace(
            "return x.mean(dim=[1, 2, 3, 4])",
            "y = torch.zeros(x.shape[0], device=x.device)\n"
            "        import ctypes\n"
            f"        launch = ctypes.CDLL({str(library)!r}).launch\n"
            "        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)\n"
            "        launch(ctypes.c_void_p(y.data_ptr()), ctypes.c_longlong(y.numel()), stream)\n"
            "        return y",
        )
    )  # fmt: skip
    memcheck, _ = thorough.sanitize(loaded("gn_mean"), workload("gn_mean"), file, "cuda:0")
    assert not memcheck.detail.startswith("skipped")
    assert memcheck.ok is ok


def test_items_know_their_constructor_s_arguments(items, suite):
    assert isinstance(items["E constant"], Item)
    assert items["E constant"].suite is suite
    assert items["I one channel a group, A"].suite.workload.init == (3, 6, 3, 6)
