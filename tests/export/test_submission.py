"""submission.md: every figure in it is the record's, and every part of the record that matters is in it."""

from __future__ import annotations

import re

import pytest
from helpers.tiny import MakeRecord, changed

from tuner.export.submission import submission
from tuner.records import Comparison, Floor, Performance, Record

FIGURE = re.compile(r"(?<![\w.+-])\d+(?:\.\d+)*(?:e[+-]?\d+)?(?!\w)")
FIXED = ("1e-4", "95")  # what no record holds: KernelBench's tolerance, the intervals' level


@pytest.fixture
def record(make_record: MakeRecord) -> Record:
    """A record of which no two figures are equal."""
    record: Record = make_record(latency_ms=0.731, knobs={"unroll": 8, "threads": 17}, error_budget=6.5)
    performance = Performance(latency_ms=0.731, q25_ms=0.722, q75_ms=0.743, samples=41)
    eager = Performance(latency_ms=2.618, q25_ms=2.597, q75_ms=2.653, samples=42)
    odd = Performance(latency_ms=1.414, q25_ms=1.401, q75_ms=1.433, samples=43)
    assert record.evaluation.correctness is not None
    correctness = changed(record.evaluation.correctness, error_ratio=1.37)
    evaluation = changed(record.evaluation, performance=performance, correctness=correctness)
    baselines = (
        Comparison(name="eager", performance=eager, speedup=3.581, speedup_low=3.512, speedup_high=3.647),
        Comparison(name="compile", performance=odd, speedup=1.934, speedup_low=1.902, speedup_high=1.971),
    )
    floor = Floor(bytes=91, flops=92, memory_ms=0.34, compute_ms=0.21, ceilings={"read_gbps": 93.0})
    return changed(record, evaluation=evaluation, baselines=baselines, floor=floor)


def text(*records: Record) -> str:
    return submission("submission.py", records, {"plain": "one loop"})


def test_every_figure_is_the_record_s(record: Record) -> None:
    assert record.evaluation.correctness is not None
    device, cases = record.environment, len(record.evaluation.correctness.cases)
    assert sorted(FIGURE.findall(text(record).replace(record.created, ""))) == sorted(
        [
            *("0.731", "0.722", "0.743", "41"),  # ModelNew
            *("2.618", "2.597", "2.653", "3.581", "3.512", "3.647"),  # eager
            *("1.414", "1.401", "1.433", "1.934", "1.902", "1.971"),  # torch.compile
            *("8", "8", "17"),  # the constructor's argument, and knobs
            *(str(cases), "1.37", "6.5"),
            *("0.34", "2.15"),  # the floor, and ModelNew's time as a multiple of it
            *FIXED,
            *(str(device.cores), device.torch.partition("+")[0], "12.2.0", device.tuner, device.python),
        ]
    )
    assert f"Measured {record.created}" in text(record)


def test_every_baseline_has_its_row(record: Record) -> None:
    assert "| ModelNew | 0.731 | 0.722 to 0.743 | | |" in text(record)
    assert "| PyTorch eager | 2.618 | 2.597 to 2.653 | 3.581 | 3.512 to 3.647 |" in text(record)
    assert "| torch.compile | 1.414 | 1.401 to 1.433 | 1.934 | 1.902 to 1.971 |" in text(record)


def test_every_knob_has_its_row(record: Record) -> None:
    rows = re.findall(r"^\| (\w+) \| (\w+) \|$", text(record), re.MULTILINE)
    assert rows == [("knob", "value"), *((name, str(value)) for name, value in record.point.knobs.items())]


def test_a_floor_of_zero_is_none(record: Record) -> None:
    assert record.floor is not None
    none = changed(record.floor, memory_ms=0.0, compute_ms=0.0)
    for floor in (none, None):
        assert "floor" not in text(changed(record, floor=floor))


@pytest.mark.parametrize(("agrees", "says"), [(True, "it agrees with"), (False, "it does not agree with")])
def test_it_says_whether_kernelbench_s_tolerance_holds(record: Record, agrees: bool, says: str) -> None:
    assert record.evaluation.correctness is not None
    correctness = changed(record.evaluation.correctness, agrees_with_eager=agrees)
    evaluation = changed(record.evaluation, correctness=correctness)
    assert says in text(changed(record, evaluation=evaluation))


@pytest.mark.parametrize(
    ("precision", "says"), [("match", "default flags"), ("ieee", "TF32 off"), ("tf32", "TF32 allowed")]
)
def test_it_says_what_precision_was_allowed(make_record: MakeRecord, precision: str, says: str) -> None:
    assert f"Precision class `{precision}`: " in (whole := text(make_record(precision=precision))) and says in whole


def test_a_gpu_is_described_by_its_own_words(make_record: MakeRecord) -> None:
    gpu = make_record(device_kind="cuda", device_name="H", capability=(9, 0), cores=132, driver="580.1", cudnn="9.1")
    assert "- Device: H, 132 SMs, compute capability 9.0\n" in text(gpu)
    assert ", CUDA toolkit gcc 12.2.0, driver 580.1, cuDNN 9.1\n" in text(gpu)


def test_it_says_what_is_left_to_pytorch(record: Record) -> None:
    said = "- What it declares to leave to PyTorch: "
    assert f"{said}`gelu`, `sum`.\n" in text(changed(record, leaves=("gelu", "sum")))
    assert said not in text(record)


def test_each_record_has_a_part_of_its_own(make_record: MakeRecord) -> None:
    whole = text(make_record(latency_ms=0.25), make_record(latency_ms=0.75, shape=(16, 8)))
    assert re.findall(r"^## Input (\S+)|^\| ModelNew \| (\S+)", whole, re.MULTILINE) == [
        ("4x8", ""), ("", "0.25"), ("16x8", ""), ("", "0.75"),
    ]  # fmt: skip
    assert "holds 2 tuned kernels" in whole


def test_what_was_replaced_is_told_in_the_template_s_words(record: Record) -> None:
    whole = submission("submission.py", [record], {"plain": "one loop", "other": ""})
    assert "- `plain`: one loop\n- `other`\n" in whole
