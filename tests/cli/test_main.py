"""Bad input of any kind: one clear line on stderr, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest
from helpers.project import Project, refused, without_pulse

from tuner.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search", "no_such.yaml"], "cannot be read: No such file"),
        (["search", "."], "is not a file"),
        (["search", "tiny.yaml/x"], "cannot be read: Not a directory"),
        (["search", "a" * 5000], "cannot be read: File name too long"),
        (["search"], "Missing argument"),
        (["search", "tiny.yaml", "--no-such"], "No such option"),
        (["search", "tiny.yaml", "--trials", "x"], "--trials: should be a valid integer"),
        (["search", "tiny.yaml", "--device", "cuda:999"], "device"),
        (["no-such-command"], "No such command"),
        (["verify", "no_such.py", "--problem", "templates/tiny/problem.py"], "no such file"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--shape", "4xx"], "--shape"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--init", "{"], "--init"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--shape", "9" * 18 + "x8"], "--shape"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--shape", "0x8"], "--shape"),
        (["verify", "templates/tiny/model_new.py", "--problem", "p.py", "--init", "[NaN]"], "--init"),
        (["cache", "rm", "no_such"], "names no entry"),
        (["templates", "no_such"], "is not one of"),
        (["templates", "../.."], "no template.py"),
    ],
)
def test_a_command_that_is_wrong(project: Project, arguments: list[str], says: str) -> None:
    assert says in refused(project, *arguments)


def outside(folder: Path, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A shell line in a process of its own, `tuner` being the command."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    script = f'tuner() {{ "{sys.executable}" -P -m tuner "$@"; }}\n{line}'
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    done.stderr = without_pulse(done.stderr)
    return done


@pytest.mark.parametrize("command", ["templates", "cache ls", "doctor --json", "--help"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&-"])
def test_a_closed_stdout_is_no_fault(project: Project, command: str, closed: str) -> None:
    done = outside(project.root, f"tuner {command} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_files_never_get_the_number_of_a_closed_stream(project: Project) -> None:
    script = (
        "import os, sys; from tuner.cli import main\n"
        "try: main.main(['--version'])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(os.readlink('/proc/self/fd/1'))"
    )
    (project.root / "script.py").write_text(script)
    line = f'"{sys.executable}" -P script.py >&-'
    assert outside(project.root, line).stderr == "/dev/null"


@pytest.mark.parametrize("command", ["cache ls", "templates", "search x.yaml", "cache why {config} --device cpu"])
def test_a_working_folder_that_is_gone_is_one_line(project: Project, command: str) -> None:
    gone = project.root / "gone"
    gone.mkdir()
    line = f"rmdir {gone}; tuner {command.format(config=project.config)}"
    done = outside(gone, line)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("tuner: ") and done.stderr.count("\n") == 1


def test_validate_needs_no_working_folder(project: Project) -> None:
    gone = project.root / "gone"
    gone.mkdir()
    done = outside(gone, f"rmdir {gone}; tuner validate {project.config}")
    assert (done.returncode, done.stdout) == (0, f"{project.config}: ok (tiny)\n"), done.stderr


def test_a_home_that_is_no_folder(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setattr("tuner.settings.project.project_root", lambda start: None)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    code, out, err = project.run("cache", "ls")
    assert (code, len(out.splitlines()), err) == (0, 1, "")
    assert "the cache cannot be written (Not a directory); set TUNER_CACHE_DIR" in refused(
        project, "search", "tiny.yaml"
    )


def test_a_user_without_a_home(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> NoReturn:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("tuner.settings.project.project_root", lambda start: None)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    for command in (["cache", "ls"], ["search", "tiny.yaml"]):
        assert "no home folder is known" in refused(project, *command)


def test_a_command_that_lasts_says_so_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(folder: Path) -> list[Path]:
        time.sleep(0.3)
        return []

    monkeypatch.setattr("tuner.screen.pulse.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("tuner.screen.pulse.QUIET_S", 0.05)
    monkeypatch.setattr("tuner.settings.cache_roots", slow)
    with pytest.raises(SystemExit):
        main(["cache", "ls", "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert err.startswith("  … 0 s: tuner cache ls\n")
