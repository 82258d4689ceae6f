"""A confined process reaches nothing outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tuner.workers.confinement import confine

PROBE = """
import os, sys, time
from tuner.workers.confinement import confine
if not confine():
    print("cannot be confined")
    sys.exit()
import psutil
parent = os.getppid()
for what, attempt in {"read": lambda: open(f"/proc/{parent}/mem", "rb"), "signal": lambda: os.kill(parent, 0)}.items():
    try:
        attempt()
        print("could", what)
    except PermissionError:
        pass
os.kill(os.getpid(), 0)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(20)
    os._exit(0)
os.wait()
(orphan,) = psutil.Process().children()
orphan.kill()
print("the orphan is a child")
"""


def test_a_confined_process_reaches_nobody_and_keeps_its_orphans() -> None:
    said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout.split("\n")
    if "cannot be confined" in said:
        pytest.skip("no Landlock in this kernel")
    assert said[:-1] in (["the orphan is a child"], ["could signal", "the orphan is a child"])  # before Linux 6.12


def test_elsewhere_than_on_linux_nothing_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not confine()


def test_a_confined_process_may_rename_into_another_folder(tmp_path: Path) -> None:
    """As a candidate does with what it has built."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "x").touch()
    script = (
        "import os, sys\nfrom tuner.workers.confinement import confine\nconfine()\n"
        "os.replace(sys.argv[1] + '/one/x', sys.argv[1] + '/two/x')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert (tmp_path / "two" / "x").exists()
