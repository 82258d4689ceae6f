"""What `--cluster` refuses, in one line: before anything is searched, and without a trace in the cache."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.project import CONFIG, Project, refused

pytest.importorskip("distributed")

import distributed

from tuner.cli import cluster
from tuner.cluster import connect

NOBODY = "tcp://127.0.0.1:9"
ANY = CONFIG.replace("device: cpu\n", "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, ANY)


@pytest.fixture(scope="module")
def empty() -> Iterator[str]:
    """The address of a scheduler without workers."""
    options = {"host": connect.LOOPBACK, "port": 0, "dashboard": False, "dashboard_address": f"{connect.LOOPBACK}:0"}
    with distributed.SpecCluster({}, scheduler={"cls": distributed.Scheduler, "options": options}) as made:
        yield made.scheduler_address


def test_without_distributed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'tuner[cluster]'" in refused(project, "search", "tiny.yaml", "--cluster", NOBODY)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cluster", "gpu7"], "'gpu7' is none of local, tcp://HOST:PORT and tls://HOST:PORT"),
        (["--cluster", "tcp://gpu7"], "is none of local"),
        (["--cluster", "tls://127.0.0.1:9"], "wants certificates: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        (["--cluster", NOBODY, "--device", "cuda:0"], "--device: beside --cluster it is auto, cuda or cpu, not cuda:0"),
        (["--cluster", NOBODY, "--devices", "all"], "--devices: names devices of this host"),
    ],
)
def test_what_a_cluster_cannot_be_asked(project: Project, options: list[str], says: str) -> None:
    assert says in refused(project, "search", "tiny.yaml", *options)


def test_nobody_answers(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "WITHIN_S", 0.3)
    line = refused(project, "search", "tiny.yaml", "--cluster", NOBODY)
    assert f"--cluster: {NOBODY}: no scheduler answers within 0.3 s" in line


def test_no_worker_comes(project: Project, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WORKERS_WITHIN_S", 0.3)
    line = refused(project, "search", "tiny.yaml", "--cluster", empty)
    assert f"no worker has come within 0.3 s; start one for each device: dask worker {empty}" in line
