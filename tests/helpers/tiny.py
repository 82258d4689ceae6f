"""A small template for the CPU, and what goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tuner import store, template
from tuner.records import CaseResult, Environment, Record, Stored
from tuner.template import render

S = TypeVar("S", bound=Stored)
MakeRecord = Callable[..., Record]  # the fixture `make_record`
Put = Callable[..., Record]  # the fixture `put`

TINY = {
    "problem.py": """\
import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, size + 1))

    def forward(self, x):
        return x * self.weight


def get_inputs():
    return [torch.rand(4, 8)]


def get_init_inputs():
    return [8]
""",
    "model_new.py": """\
import torch
import torch.nn as nn


class ModelNew(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, size + 1))

    def forward(self, x):
        return run(self, x)
""",
    "template.py": """\
from tuner.space import Constraint, Knob
from tuner.template import Variant


def axes(init, shapes):
    ((n, c),) = shapes
    if c != init[0]:
        raise ValueError("wants an input (N, size)")
    return {"N": n, "C": c}


VARIANTS = (
    Variant(
        name="plain",
        device="cpu",
        source="plain.cpp",
        doc="one loop",
        knobs=(
            Knob("unroll", (1, 2, 4, 8), 2),
            Knob("order", ("rows", "columns"), "rows"),
            Knob("fast", (False, True), False),
            Knob("threads", (1, 2), 1, "read by the host"),
        ),
        constraints=(Constraint("unroll<=C", lambda k, f: k.unroll <= f.C),),
    ),
    Variant(
        name="gpu",
        device="cuda",
        source="gpu.cu",
        minimum=(8, 0),
        knobs=(Knob("block_size", (64, 128), 128),),
    ),
)
""",
    "plain.py": '''\
"""Host side of plain."""

import torch


def plain(model, kernel, x):
    x, threads = aligned(x), kernel.knobs["threads"]
    out = torch.empty_like(x)
    kernel.launch("scale", x, model.weight, out, x.shape[0], x.shape[1] if threads else 0)
    return out
''',
    "plain.cpp": """\
#include "common.hpp"
#ifndef UNROLL
#define UNROLL 2
#endif
#ifndef FAST
#define FAST 0
#endif
#ifndef ORDER
#define ORDER_ROWS 0
#define ORDER_COLUMNS 1
#define ORDER ORDER_ROWS
#endif
extern "C" const char* tuner_error(int) { return "failed"; }
extern "C" int scale(const float* x, const float* w, float* out, long long n, long long c, void*) {
  for (long long i = 0; i < n; i++)
    for (long long j = 0; j < c; j++) out[i * c + j] = times(x[i * c + j], w[j]);
  return UNROLL * FAST * ORDER * 0;
}
""",
    "common.hpp": """\
#pragma once
static inline float times(float a, float b) { return a * b; }
""",
    "gpu.py": "def gpu(model, kernel, x):\n    return x\n",
    "gpu.cu": """\
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 128
#endif
extern "C" int scale(void*) { return BLOCK_SIZE * 0; }
""",
}

HERE = Environment(
    device_kind="cpu",
    device_name="Test CPU",
    capability=(0, 0),
    cores=2,
    memory_bytes=2**33,
    driver="none",
    toolkit="gcc 12.2.0",
    torch="2.9.1+cpu",
    cudnn="none",
    python="3.11.7",
    tuner="0.1.0",
)


# The cases of a complete exam, as short as it can be.
EVIDENCE = tuple(
    CaseResult(name=name, ok=True, error=1e-7, allowed=8e-7, reference_error=1e-7)
    for name in (
        "A random affine", "A random affine, seed 2", "A random affine, seed 3", "E constant", "F denormals",
        "G NaN in one sample", "H transposed", "I batch 1, A", "J negated", "own work", "timed values",
        "100 repeats", "time from outside",
    )
)  # fmt: skip


def changed(value: S, **fields: Any) -> S:
    """A stored value with these fields changed, validated as a whole."""
    return type(value).model_validate({**dict(value), **fields})


def text_of(tiny: template.Template, record: Record) -> render.Candidate:
    return render.candidate(tiny, [store.tuned(record)])
