from __future__ import annotations

from pathlib import Path

import pytest
from helpers.project import ONE_TRIAL, Project
from helpers.tiny import Put

from tuner import store
from tuner.execution import verdict


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def kept(project: Project, put: Put) -> list[Path]:
    """A project with two winners of another template in its cache, without a search; their folders."""
    put(project.cache)
    put(project.cache, shape=(5, 8), confirmed=False)
    return store.folders(project.cache)


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often a file is run again before it is believed is the verdict's own affair; a second each time adds up."""
    monkeypatch.setattr(verdict, "MOST_REPEATS", verdict.LEAST_REPEATS)


@pytest.fixture(scope="session")
def found_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a winner that a search found; tests get copies of it."""
    made = Project(tmp_path_factory.mktemp("cli") / "project", ONE_TRIAL)
    code, _, err = made.run("search", "tiny.yaml")
    assert code == 0, err
    return made


@pytest.fixture
def searched(found_once: Project, tmp_path: Path) -> Project:
    """A project with a winner that a search found, a test's own to damage."""
    return found_once.copied(tmp_path / "searched")
