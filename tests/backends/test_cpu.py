"""The CPU as a device: what is real on every machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest
import torch

from tuner import backends
from tuner.backends import cpu, toolchain
from tuner.backends.cpu import WallClock
from tuner.records import Record

CPU = backends.of("cpu")


def test_its_environment() -> None:
    found = CPU.environment()
    assert (found.device_kind, found.capability, found.driver) == ("cpu", (0, 0), "none")
    assert found.cores == len(cpu.allowed()) >= 1
    assert found.memory_bytes > 2**28
    assert found.toolkit == toolchain.compiler_version()
    assert found == CPU.environment()


def test_its_limits(make_record: Callable[..., Record]) -> None:
    record = make_record()
    expected = {"device": "cpu", "cores": 2, "capability": (0, 0), "shared_memory_per_block": 0}
    assert CPU.limits(record.environment) == expected
    assert CPU.target(record.environment) is None


def test_its_load_is_that_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 60.0)
    assert CPU.busy() == 0.6


def test_the_clock_gives_what_the_call_took_and_returned() -> None:
    now, y = [7.0], torch.ones(1)

    def call() -> torch.Tensor:
        now[0] += 0.25
        return y

    timing = WallClock(lambda: now[0]).time(call)
    assert (timing.elapsed_ms, timing.late_ms) == (250.0, 0.0)
    assert timing.result is y


@pytest.mark.slow
def test_its_ceilings_have_one_rate() -> None:
    assert set(CPU.ceilings()) == {"read_gbps", "copy_gbps", "fp32_tflops"}


FAULTS = """
import resource
import torch
from tuner import backends

backends.of("cpu").select()
def results(): return [torch.ones(2**19) for _ in range(8)]
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): results()
before = faults()
for _ in range(10): results()
print((faults() - before) // 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's")
def test_results_lie_in_memory_that_was_freed_before() -> None:
    """What a forward takes is its own work, not the first writing of pages: 2 MB have 512 of them."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 512
