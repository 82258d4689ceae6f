"""`tuner cache`: listed, explained, verified, removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NoReturn

import pytest
from helpers.project import CONFIG, Project, refused
from helpers.tiny import HERE, Put

from tuner import settings, store
from tuner.settings import resolve


@pytest.mark.parametrize("command", [["ls"], ["ls", "--json"], ["verify"], ["rm", "tiny"]])
@pytest.mark.parametrize("folder", ["nowhere", "tiny.yaml"])
def test_a_cache_that_is_not_there(project: Project, command: list[str], folder: str) -> None:
    assert refused(project, "cache", *command, "--cache", folder) == f"tuner: no such cache: {folder}\n"


def test_cache_ls_marks_what_a_final_has_not_confirmed(project: Project, kept: list[Path]) -> None:
    code, out, err = project.run("cache", "ls")
    assert (code, err) == (0, "")
    confirmed, unconfirmed = out.splitlines()[1:]
    assert "2.00x" in confirmed and "unconfirmed" not in confirmed
    assert "unconfirmed" in unconfirmed and "2.00x" not in unconfirmed


def test_cache_verify_says_each_entry_once_and_quarantines(
    project: Project, kept: list[Path], tiny_folder: Path
) -> None:
    (kept[0] / "model_new.py").write_text("import os\n")
    code, out, err = project.run("cache", "verify", "--template", f"{tiny_folder}/", "--json")
    assert (code, err) == (1, "")
    bad, good = json.loads(out)
    assert (bad["folder"], bad["ok"]) == (str(kept[0]), False)
    assert bad["said"].startswith("model_new.py: is not the text") and "was moved to" in bad["said"]
    assert good == {"folder": str(kept[1]), "ok": True, "said": "ok"}
    assert not kept[0].exists()
    assert project.run("cache", "verify", "--template", f"{tiny_folder}/") == (0, f"{kept[1]}: ok\n", "")
    code, out, _ = project.run("cache", "verify")
    assert code == 0 and f"{kept[1]}: not checked: its template tiny" in out


def test_cache_rm_takes_damaged_entries_by_their_folder(project: Project, kept: list[Path]) -> None:
    (kept[0] / "record.json").unlink()
    (kept[0] / "record.json").mkdir()
    assert project.run("cache", "rm", kept[0].name) == (0, f"removed {kept[0]}\n", "")
    code, out, _ = project.run("cache", "rm", "tiny", kept[1].name, "--json")
    assert (code, json.loads(out)) == (0, [str(kept[1])])
    assert store.folders(project.cache) == []


def test_cache_rm_removes_nothing_when_a_name_is_wrong(project: Project, kept: list[Path]) -> None:
    assert "'no_such' names no entry" in refused(project, "cache", "rm", "tiny", "no_such")


def test_cache_why_shows_damaged_entries(project: Project, kept: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "here", lambda *arguments: HERE)
    project.config.write_text(CONFIG + "init: [8]\nshapes: [[4, 8]]\n")
    (kept[0] / "model_new.py").write_text("import os\n")
    code, out, _ = project.run("cache", "why", "tiny.yaml")
    assert code == 1 and out.startswith("tiny 4x8-") and out.splitlines()[0].endswith(": miss")
    assert f"  {kept[0]}: model_new.py: is not the text" in out
    code, out, _ = project.run("cache", "why", "tiny.yaml", "--json")
    (row,) = json.loads(out)
    assert (code, row["hit"], row["entries"][0]["folder"]) == (1, False, str(kept[0]))
    assert project.run("cache", "rm", "tiny")[0] == 0
    assert project.run("cache", "why", "tiny.yaml")[1].splitlines()[1:] == ["  nothing is cached"]


def test_a_cache_that_may_not_be_read_is_said(
    project: Project, kept: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    for command in (["ls"], ["ls", "--json"], ["verify"], ["rm", "tiny"]):
        code, out, err = project.run("cache", *command)
        assert (code, out, err) == (2, "", f"tuner: {project.cache}: the cache cannot be read: Permission denied\n")


def test_cache_rm_leaves_what_a_link_leads_to(project: Project, kept: list[Path], tmp_path: Path) -> None:
    device, outside = kept[0].parents[1], tmp_path / "outside"
    device.rename(outside)
    device.symlink_to(outside)
    assert f"{device.name!r} names no entry" in refused(project, "cache", "rm", device.name)
    assert len(list(outside.rglob("record.json"))) == 2
    assert project.run("cache", "ls")[1].count("tiny") == 0


def test_outside_any_project_the_winners_of_every_template_are_listed(
    project: Project, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.settings.project.project_root", lambda start: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for where in ("a", "b"):
        put(settings.cache_root(tmp_path, str(tmp_path / where / "tiny")))
    code, out, _ = project.run("cache", "ls", "--json")
    folders = [entry["folder"] for entry in json.loads(out)]
    assert code == 0 and len(set(folders)) == 2
    code, out, _ = project.run("cache", "rm", "tiny")
    assert (code, out.count("removed ")) == (0, 2)
