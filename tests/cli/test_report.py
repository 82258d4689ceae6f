"""tuner report."""

from __future__ import annotations

import json

import pytest
from helpers.project import Project, refused
from helpers.searched import write_search

pytest.importorskip("plotly")


def test_a_config_names_its_searches(project: Project) -> None:
    write_search(project.cache, 6)
    code, out, err = project.run("report", "tiny.yaml", "-o", "report.html")
    assert code == 0 and "1 search\n" in out, err
    assert (project.root / "report.html").read_text().startswith("<!doctype html>")


def test_a_suites_table_is_reported(project: Project) -> None:
    (project.root / "suite.json").write_text(json.dumps({"rows": [{"problem": "a", "status": "right"}]}))
    assert project.run("report", "suite.json", "-o", "report.html")[0] == 0


def test_another_json_is_one_line(project: Project) -> None:
    (project.root / "suite.json").write_text("{}")
    assert "benchmarks/suite.py" in refused(project, "report", "suite.json", "-o", "report.html")


def test_the_output_is_html(project: Project) -> None:
    assert "ends in .html" in refused(project, "report", "-o", "report.pdf")


def test_without_plotly_it_says_what_to_install(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    assert "pip install 'tuner[report]'" in refused(project, "report", "-o", "report.html")
