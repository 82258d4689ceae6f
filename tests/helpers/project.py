"""A folder as a user has it, around the tiny template, for the tests of whole commands."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

from helpers import injected
from tuner import store, template
from tuner.cli.main import main
from tuner.records import Trial
from tuner.search.ledger import Ledger

CONFIG = "template: templates/tiny/\ndevice: cpu\ntrials: 6\nbaselines: [eager]\nfinal_budget_s: 1\n"
ONE_TRIAL = CONFIG.replace("trials: 6", "trials: 1").replace("final_budget_s: 1", "final_budget_s: 0.1")


class Project:
    """A folder with a template, a config and a cache; commands run in this process."""

    def __init__(self, root: Path, config: str = CONFIG, **faults: str) -> None:
        self.root, self.cache, self.config = root, root / "cache", root / "tiny.yaml"
        self.template = injected.write(root / "templates" / "tiny", **faults)
        self.config.write_text(config)
        (root / "pyproject.toml").touch()

    def copied(self, root: Path) -> Project:
        """The same in another folder, with all that was found here."""
        made = Project(root)
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return made

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, and stderr `without_pulse`, of one command in this folder."""
        out, err = io.StringIO(), io.StringIO()
        with injected.inside(self.root), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as done:
                return int(done.code or 0), out.getvalue(), without_pulse(err.getvalue())

    def trials(self) -> list[Trial]:
        return [trial for path in (self.cache / ".runs").glob("tiny-*.jsonl") for trial in Ledger(path).read()]

    def entry(self) -> store.Entry:
        (entry,) = store.entries(self.cache)
        assert store.load_checked(entry, template.load(self.template)) == entry.text
        return entry


def without_pulse(err: str) -> str:
    """What was said on stderr, less that something lasts, which depends on how busy the machine is."""
    return "".join(line for line in err.splitlines(keepends=True) if not line.startswith("  … "))


def tree(root: Path) -> set[str]:
    """Every file but locks and what Python caches."""
    return {
        str(path.relative_to(root)) for path in root.rglob("*")
        if path.is_file() and path.name != ".lock" and "__pycache__" not in path.parts
    }  # fmt: skip


def refused(project: Project, *arguments: str) -> str:
    """The line that a command is refused with."""
    before = tree(project.root)
    code, out, err = project.run(*arguments)
    assert code == 2, (out, err)
    assert err.startswith("tuner: ") and err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert tree(project.root) == before
    return err
