"""tuner results."""

from __future__ import annotations

import json

from helpers.project import Project, refused
from helpers.searched import write_search


def test_a_config_names_its_searches(project: Project) -> None:
    write_search(project.cache, 6)
    code, out, err = project.run("results", "tiny.yaml", "--json")
    assert code == 0, err
    assert [row["trial"] for row in json.loads(out)] == list(range(6))


def test_without_a_config_all_are_listed(project: Project) -> None:
    write_search(project.cache, 6)
    code, out, _ = project.run("results")
    assert code == 0 and "tiny-0123" in out


def test_time_and_knobs_are_those_of_the_winner(searched: Project) -> None:
    code, out, _ = searched.run("results")
    record = searched.entry().record
    assert code == 0 and "winner" in out
    assert f"{record.latency_ms:.4g} ms" in out and record.point.variant in out


def test_without_a_winner_they_are_those_of_the_best_trial(project: Project) -> None:
    write_search(project.cache, 6, final=False)
    assert "best trial" in project.run("results")[1]


def test_t4_of_several_goes_into_a_folder(project: Project) -> None:
    write_search(project.cache, 6)
    write_search(project.cache, 6, "tiny-4567")
    assert "name one ledger" in refused(project, "results", "--t4")
    (project.root / "out").mkdir()
    assert project.run("results", "--t4", "-o", "out")[0] == 0
    assert sorted(path.name for path in (project.root / "out").iterdir()) == [
        "tiny-0123.t4.json", "tiny-4567.t4.json",
    ]  # fmt: skip


def test_nothing_searched_is_one_line(project: Project) -> None:
    assert "run `tuner search tiny.yaml` first" in refused(project, "results", "tiny.yaml")


def test_parquet_wants_a_file(project: Project) -> None:
    write_search(project.cache, 6)
    assert "--output" in refused(project, "results", "--parquet")


def test_warm_wants_a_t4_file(project: Project) -> None:
    (project.root / "bad.json").write_text("{}")
    assert "--warm: " in refused(project, "search", "tiny.yaml", "--warm", "bad.json")
