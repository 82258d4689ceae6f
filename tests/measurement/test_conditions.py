"""A busy or throttled device is noticed, and said."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest

from tuner.backends import device
from tuner.measurement import conditions
from tuner.measurement.conditions import Watch, parse

IDLE = "345, 2619, 76.12, 29, 0, 0x0000000000000001"
WORKING = "1980, 3201, 512.30, 55, 100, 0x0000000000000000"
CAPPED = "1500, 3201, 699.90, 71, 100, 0x0000000000000004"


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi that says one thing when asked once, and another while it is left to loop.

    Returns the path of a file that is there once it has said the latter.
    """

    def smi(once: str, loop: list[str]) -> Path:
        path = tmp_path / "nvidia-smi"
        lines = "".join(f"echo '{line}'\n" for line in loop)
        path.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
            f'case "$*" in *loop-ms*) {lines} : > {tmp_path}/told; exec sleep 60;; *) echo "{once}";; esac\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return tmp_path / "told"

    return smi


def watched(told: Path | None = None) -> Watch:
    """A watch that was entered until nvidia-smi had told everything, or had ended."""
    watch = Watch("cuda:0")
    with watch:
        while told is not None and not told.exists():
            time.sleep(0.005)
        if told is None and watch.process is not None:
            watch.process.wait()
    return watch


def test_a_line_is_read():
    reading = parse(CAPPED)
    assert (reading.sm_mhz, reading.power_w, reading.utilisation) == (1500, 699.9, 1.0)
    assert reading.throttling == ("power cap",)
    assert parse(IDLE).throttling == ()
    assert parse("1980, 3201, 512.30, 55, 100, 0x00000000000000e8").throttling == (
        "hardware slowdown", "heat", "heat (hardware)", "power brake",
    )  # fmt: skip


@pytest.mark.parametrize("line", ["", "No devices were found", "1, 2, 3", "a, b, c, d, e, f", "1,2,3,4,5,[N/A]"])
def test_another_line_is_none(line):
    assert parse(line) is None


def test_what_the_driver_does_not_tell_is_left_out():
    assert math.isnan(parse("[N/A], 3201, [Not Supported], 55, 100, 0x0").power_w)


def test_a_quiet_gpu_has_no_notes(smi):
    watch = watched(smi(IDLE, [WORKING, WORKING]))
    assert watch.notes() == []
    assert watch.conditions() == {
        "busy before the search": "0%", "sm": "1980 MHz", "memory": "3201 MHz", "power": "512.3 W",
        "temperature": "55 C", "throttling": "none",
    }  # fmt: skip


def test_a_busy_gpu_is_said(smi):
    (note,) = watched(smi(WORKING, [WORKING])).notes()
    assert "cuda:0 was 100% busy with something else before the search" in note


def test_a_throttled_gpu_is_said(smi):
    watch = watched(smi(IDLE, [WORKING, CAPPED, CAPPED, WORKING]))
    assert watch.notes() == ["cuda:0 was throttled in 50% of the final: power cap"]
    assert watch.conditions()["throttling"] == "power cap 50%"


def test_the_device_that_is_asked_about(smi, tmp_path, monkeypatch):
    smi(IDLE, [])
    Watch("cuda:1")
    monkeypatch.setattr(device, "bus_id", lambda torch_device: "0000:0e:00.0")
    Watch("cuda:1")
    asked = [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == ["--id=1", "--id=0000:0e:00.0"]


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nprintf '\\377\\n'\n", "not a program"])
def test_an_nvidia_smi_that_does_not_work_is_as_none(tmp_path, monkeypatch, text):
    (tmp_path / "nvidia-smi").write_text(text)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert watched().conditions() == {}
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert watched().conditions() == {} and watched().notes() == []


@pytest.fixture
def cpu(monkeypatch):
    """A CPU that is used for so many ticks out of a hundred."""

    def cpu(used: int) -> None:
        ticks = iter([(100, 1000), (100 + used, 1100)])
        monkeypatch.setattr(conditions, "CPU_SAMPLE_S", 0.0)
        monkeypatch.setattr(conditions, "_cpu_ticks", lambda: next(ticks))

    return cpu


def test_a_busy_cpu_is_said(cpu):
    cpu(60)
    watch = Watch("cpu")
    assert watch.notes() == ["cpu was 60% busy with something else before the search; times may suffer"]
    assert set(watch.conditions()) == {"busy before the search", "load average before the search"}


def test_a_quiet_cpu_has_no_notes(cpu):
    cpu(5)
    assert Watch("cpu").notes() == []
