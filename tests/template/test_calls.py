"""Calls in host files, beside the signatures of what they call."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tuner.template.calls import launch_faults, launches
from tuner.template.signatures import signatures

RUN = 'extern "C" int run(const float* x, float* out, long long n, double eps, void* stream) {}'


def faults(call: str, source: str = RUN, device: str = "cpu") -> list[str]:
    known = signatures(f'#line 1 "tiny/plain.cpp"\n{source}')
    host, folder = Path("plain.py"), Path("/none/tiny")
    made = launches(ast.parse(f"def plain(model, kernel, x):\n    {call}\n"))
    return [fault for launch in made for fault in launch_faults(launch, host, known, device, folder)]


@pytest.mark.parametrize(
    "call",
    [
        'kernel.launch("run", x, out, 3, 1e-5)',
        'kernel.launch("run", x, None, n, 1)',
        'kernel.launch("run", aligned(x), out, x.shape[0], norm.eps)',
        'kernel.launch("run", x, out if fused else None, x.numel(), 1e-5)',
        'kernel.launch("run", x, out, *sizes, norm.eps)',
        'kernel.launch("run", *everything)',
        'kernel.launch(f"ru{letter}", x, out, 3, 1e-5)',
        "kernel.launch(symbol, x)",
        'other.start("run", x)',
    ],
)
def test_a_call_that_may_be_right_is(call: str) -> None:
    assert faults(call) == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ('kernel.launch("run", x, out, 3)', "takes 4 arguments (float* x, float* out, long long n, double eps), not 3"),
        ('kernel.launch("run", x, out, 3, 1e-5, None)', ", not 5"),
        ('kernel.launch("run", x, out, 3, 4, 5, *sizes)', ", not at least 5"),
        ('kernel.launch("run", x, out, 1.5, 1e-5)', "takes long long n, not 1.5"),
        ('kernel.launch("run", x, out, None, 1e-5)', "takes long long n, not None"),
        ('kernel.launch("run", x, 3, 3, 1e-5)', "takes float* out, not 3"),
        ('kernel.launch("run", x, x.shape[0], 3, 1e-5)', "takes float* out, not x.shape[0]"),
        ('kernel.launch("run", x, out, aligned(x), 1e-5)', "takes long long n, not aligned(x)"),
        ('kernel.launch("run", *tensors, aligned(x), 1e-5)', "takes long long n, not aligned(x)"),
        ('kernel.launch(f"ru{letter}", x, out, 3)', "not 3"),
    ],
)
def test_a_call_that_cannot_be_right_is_named_with_its_line(call: str, says: str) -> None:
    (fault,) = faults(call)
    assert fault.startswith("plain.py:2: run takes ") and fault.endswith(says)


def test_a_launcher_returns_the_error_code() -> None:
    (fault,) = faults('kernel.launch("run")', 'extern "C" float run(void* stream) {}')
    assert "plain.cpp:1: run returns float" in fault


def test_a_launcher_for_the_gpu_takes_a_stream() -> None:
    source = 'extern "C" int run(float* x) {}'
    (fault,) = faults('kernel.launch("run", x)', source, "cuda")
    assert "plain.cpp:1: run takes no stream" in fault
    assert faults('kernel.launch("run", x)', source, "cpu") == []
