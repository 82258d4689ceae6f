"""The text that goes with an exported submission. Every figure in it is a record's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner import backends
from tuner.records import Comparison, Performance, Record

_BASELINES = {
    "eager": "PyTorch eager",
    "eager_benchmark": "PyTorch eager, cudnn.benchmark",
    "compile": "torch.compile",
    "compile_benchmark": "torch.compile, cudnn.benchmark",
    "max_autotune": "torch.compile, max-autotune",
}
_PRECISIONS = {
    "match": "that of the reference under PyTorch's default flags",
    "ieee": "fp32 throughout, TF32 off",
    "tf32": "TF32 allowed",
}


def submission(file_name: str, records: Sequence[Record], replaced: Mapping[str, str]) -> str:
    """submission.md: what was replaced and why, the knobs, the measurements and the device.

    `replaced` says for each variant what it does (the template's own words).
    """
    first = records[0]
    lines = [
        f"# {first.template}: {file_name}",
        "",
        f"`{file_name}` defines `ModelNew`, a replacement of the reference `Model` with the same constructor, "
        "parameters and result. It needs only PyTorch and compiles its kernels on first use.",
    ]
    if len(records) > 1:
        lines += [
            "",
            f"It holds {len(records)} tuned kernels and takes the one whose shapes are nearest the input's.",
        ]
    lines += ["", "## What was replaced", ""]
    lines += [f"- `{name}`" + (f": {doc}" if doc else "") for name, doc in replaced.items()]
    for record in records:
        lines += ["", *_one(record)]
    device = first.environment
    backend = backends.of(device.device_kind)
    lines += [
        "",
        "## Where it was measured",
        "",
        f"- Device: {device.device_name}, {device.cores} {backend.cores_name}"
        + (f", compute capability {device.capability[0]}.{device.capability[1]}" if device.capability[0] else ""),
        f"- PyTorch {device.torch}, {backend.toolkit_name} {device.toolkit}"
        + (f", driver {device.driver}, cuDNN {device.cudnn}" if backend.has_driver else ""),
        f"- tuner {device.tuner}, Python {device.python}",
    ]
    return "\n".join(lines) + "\n"


def _one(record: Record) -> list[str]:
    shapes = ", ".join("x".join(map(str, shape)) for shape in record.workload.shapes)
    performance, correctness = record.evaluation.performance, record.evaluation.correctness
    assert performance is not None, "a stored record is ok"
    assert correctness is not None, "a stored record is ok"
    lines = [
        f"## Input {shapes} {record.workload.dtype_names}",
        "",
        f"Constructor arguments: {', '.join(map(str, record.workload.init))}. "
        + (f"The model is cast, `.to(torch.{record.workload.cast})`. " if record.workload.cast else "")
        + f"Precision class `{record.workload.precision}`: {_PRECISIONS[record.workload.precision]}.",
        "",
        "| | median ms | quartiles | speed-up of ModelNew | 95 % interval |",
        "|---|---|---|---|---|",
        f"| ModelNew | {_times(performance)} | | |",
        *(_baseline(baseline) for baseline in record.baselines),
        "",
        f"Knobs of `{record.point.variant}`:",
        "",
        "| knob | value |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in record.point.knobs.items()),
        "",
        f"- Verified on {len(correctness.cases)} cases against the reference in float64: the largest error is "
        f"{correctness.error_ratio:.3g} times the reference's own ({record.error_budget:.3g} allowed).",
        "- At KernelBench's tolerance (1e-4) it "
        + ("agrees" if correctness.agrees_with_eager else "does not agree")
        + " with the eager result.",
    ]
    if record.leaves:
        lines.append(f"- What it declares to leave to PyTorch: {', '.join(f'`{name}`' for name in record.leaves)}.")
    if record.floor is not None and record.floor.floor_ms > 0:
        floor = record.floor.floor_ms
        lines.append(
            f"- Physical floor (input, parameters and result once over memory, the reference's operations at the "
            f"fastest rate): {floor:.4g} ms; ModelNew takes {performance.latency_ms / floor:.3g} times that."
        )
    lines += [f"- Measured {record.created}, samples: {performance.samples}."]
    return lines


def _baseline(baseline: Comparison) -> str:
    interval = f"{baseline.speedup_low:.3f} to {baseline.speedup_high:.3f}"
    name = _BASELINES.get(baseline.name, baseline.name)
    return f"| {name} | {_times(baseline.performance)} | {baseline.speedup:.3f} | {interval} |"


def _times(performance: Performance) -> str:
    return f"{performance.latency_ms:.4g} | {performance.q25_ms:.4g} to {performance.q75_ms:.4g}"
