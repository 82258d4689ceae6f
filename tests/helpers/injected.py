"""Candidates of the tiny template with a fault put in, for the tests of what a search survives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from helpers.tiny import HERE, TINY
from tuner import template
from tuner.backends import toolchain
from tuner.execution.job import Job
from tuner.records import TensorSpec, Workload
from tuner.space import Point
from tuner.template import render
from tuner.template.render import Candidate, Tuned

# Read when the fork server imports torch: on a busy machine threads that wait for each other take minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORKLOAD = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))
POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))
_BODY = "  for (long long i = 0; i < n; i++)"


def write(folder: Path, kernel: str = "", host: str = "", top: str = "", **files: str) -> Path:
    """The tiny template in `folder`.

    `kernel` is C++ that runs ahead of the loop, `host` Python that runs ahead of the launch,
    `top` Python that runs when the candidate is loaded; `files` (plain_cpp=...) replace whole files.
    """
    folder.mkdir(parents=True)
    texts = TINY | {name.replace("_", ".") if "." not in name else name: text for name, text in files.items()}
    # The kernel takes no input that would have to be stretched, so the reference may not either.
    check = "        if x.shape[-1] != len(self.weight):\n            raise ValueError('wants (N, size)')\n"
    texts["problem.py"] = texts["problem.py"].replace("        return x * ", f"{check}        return x * ")
    assert _BODY in texts["plain.cpp"]
    if kernel:
        head = "#include <cstdlib>\n#include <unistd.h>\n#include <cmath>\n"
        texts["plain.cpp"] = head + texts["plain.cpp"].replace(_BODY, f"  {kernel}\n{_BODY}")
    if host:
        texts["plain.py"] = texts["plain.py"].replace("    out = ", f"    {host}\n    out = ")
    if top:
        texts["plain.py"] = texts["plain.py"].replace("def plain", f"FAULT = True\n{top}\n\n\ndef plain")
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def candidate(folder: Path, point: Point = POINT, /, **faults: str) -> Candidate:
    kernel = template.load(write(folder, **faults))
    return render.candidate(
        kernel, [Tuned(point, WORKLOAD.shapes, WORKLOAD.dtype, HERE.device_name, WORKLOAD.precision)]
    )


def job(problem: Path, compile_timeout_s: float = 120, run_timeout_s: float = 60, **environment: str) -> Job:
    return Job(
        problem=problem,
        workload=WORKLOAD,
        torch_device="cpu",
        seed=7,
        error_budget=8.0,
        compile_timeout_s=compile_timeout_s,
        run_timeout_s=run_timeout_s,
        environment={**toolchain.environment(), **environment},
    )


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With `folder` as the working folder."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
