"""Who is alive, by locks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tuner.search.alive import Alive


def test_a_process_that_holds_its_lock_is_alive(tmp_path: Path) -> None:
    one, other = Alive(tmp_path / "study"), Alive(tmp_path / "study")
    assert other.is_alive(one.token)
    token = one.token
    del one
    assert not other.is_alive(token)
    assert not other.is_alive("0" * 16)


def test_a_dead_process_that_nobody_has_reaped_is_gone(tmp_path: Path) -> None:
    script = (
        f"import os, pathlib; from tuner.search.alive import Alive; "
        f"made = Alive(pathlib.Path({str(tmp_path / 'study')!r})); " + ("print(made.token, flush=True); os._exit(0)")
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.stdout is not None
        token = child.stdout.read().strip()
        assert (tmp_path / f"study.{token}.alive").exists()
        assert not Alive(tmp_path / "another").is_alive(token)
        mine = Alive(tmp_path / "study")
        assert not mine.is_alive(token)
        assert not (tmp_path / f"study.{token}.alive").exists()
    finally:
        child.communicate()
