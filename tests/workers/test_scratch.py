"""The process's temporary folder: gone with it, and what killed processes left is swept by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from helpers.processes import written

from tuner.errors import DeviceError
from tuner.workers import scratch

USER = """
import sys, time
from pathlib import Path
from tuner.workers import scratch
(scratch.folder() / "made").touch()
with scratch.temporary_files_here():
    import tempfile; tempfile.mkdtemp(prefix="pymp-")
Path(sys.argv[1]).write_text(f"{scratch.folder()}\\n")
time.sleep(float(sys.argv[2]))
"""


def roots(tmp_path: Path) -> Path:
    """A temporary folder with a path short enough for sockets."""
    link = tmp_path / "root"
    if not link.exists():
        link.write_text(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    return Path(link.read_text())


def user(tmp_path: Path, seconds: float) -> tuple[subprocess.Popen[bytes], Path]:
    """A process that uses the folder for so long, and its folder."""
    said = tmp_path / f"said-{time.monotonic_ns()}"
    root = roots(tmp_path)
    environment = {**os.environ, "TMPDIR": str(root), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", USER, str(said), str(seconds)], env=environment)
    return process, Path(written(said, lambda: process.poll() is None).strip())


def test_the_folder_goes_with_the_process(tmp_path: Path) -> None:
    process, folder = user(tmp_path, 0.0)
    assert process.wait(30) == 0
    assert folder.name.startswith("tuner-run-") and not folder.exists()


def test_a_killed_process_leaves_its_folder_and_the_next_sweeps_it(tmp_path: Path) -> None:
    killed, left = user(tmp_path, 600)
    living, kept = user(tmp_path, 600)
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    assert (left / "made").exists() and list(left.glob("pymp-*"))
    (roots(tmp_path) / "tuner-notes").touch()
    after, _ = user(tmp_path, 0.0)
    after.wait(30)
    try:
        assert not left.exists() and (kept / "made").exists() and (roots(tmp_path) / "tuner-notes").exists()
    finally:
        living.kill()
        living.wait(30)


def test_what_is_alive_is_known_by_its_lock_and_not_by_a_pid(tmp_path: Path) -> None:
    """As two containers see each other that share a temporary folder: no process of that name is to be seen."""
    living, folder = user(tmp_path, 600)
    try:
        assert str(living.pid) not in folder.name
        scratch.sweep(folder.parent)
        assert (folder / "made").exists()
    finally:
        living.kill()
        living.wait(30)
    scratch.sweep(folder.parent)
    assert not folder.exists()


def test_where_no_folder_can_be_made_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DeviceError, match=r"gone: no temporary folder can be made there .*; set TMPDIR"):
        scratch.folder()


def test_a_long_tmpdir_is_left_to_files_and_sockets_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with scratch.temporary_files_here():
        assert len(tempfile.gettempdir()) <= scratch.LONGEST_FOR_SOCKETS
    assert scratch.folder().parent == deep
