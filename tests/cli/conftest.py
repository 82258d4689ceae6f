from __future__ import annotations

from pathlib import Path

import pytest
from helpers.project import CONFIG, Project
from helpers.tiny import Put

from tuner import store


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def kept(project: Project, put: Put) -> list[Path]:
    """A project with two winners of another template in its cache, without a search; their folders."""
    put(project.cache)
    put(project.cache, shape=(5, 8), confirmed=False)
    return store.folders(project.cache)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a winner that a search found; a test that damages it has it found anew."""
    made = Project(tmp_path_factory.mktemp("cli"), CONFIG.replace("trials: 6", "trials: 1"))
    code, _, err = made.run("search", "tiny.yaml")
    assert code == 0, err
    return made
