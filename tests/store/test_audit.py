"""Looking after a cache: what `why` calls a hit, and what `verify_cache` finds and moves away."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from helpers.cache import Damage, folder_instead
from helpers.tiny import HERE, MakeRecord, changed, text_of

from tuner import store
from tuner.errors import ConfigError
from tuner.execution import verdict
from tuner.settings import load, resolve
from tuner.store import audit
from tuner.template import Template

Keep = Callable[..., Path]
Why = Callable[[], list[str]]
CONFIG = "template: templates/tiny/\ndevice: cpu\ninit: [8]\nshapes: [[4, 8], [5, 8]]\n"


@pytest.fixture
def keep(root: Path, tiny: Template, make_record: MakeRecord) -> Keep:
    """Store a winner measured against tiny's own problem; its folder."""

    def keep(**changes: Any) -> Path:
        record = make_record(**changes)
        record = changed(record, problem_sha256=hashlib.sha256(tiny.problem.read_bytes()).hexdigest())
        store.put(root, record, text_of(tiny, record).text)
        return store.folder_of(root, record.environment.slug, "tiny", record.workload.slug)

    return keep


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the folder of the config, on the device that the records were measured on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resolve, "here", lambda *arguments: HERE)


def altered(folder: Path) -> None:
    record = json.loads((folder / store.RECORD).read_text())
    record["point"]["knobs"]["unroll"] = 8
    (folder / store.RECORD).write_text(json.dumps(record))


DAMAGES: dict[str, Damage] = {
    "record is a folder": lambda f: folder_instead(f / store.RECORD),
    "record cut": lambda f: (f / store.RECORD).write_text("{"),
    "text altered": lambda f: (f / store.TEXT).write_text("import os\n"),
    "knob altered": altered,
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)


# ---- why ----


@pytest.fixture
def why(root: Path, tmp_path: Path) -> Why:
    """The reasons that `audit.why` gives for the workload that is kept; the other one has no winner."""

    def why() -> list[str]:
        (tmp_path / "tiny.yaml").write_text(CONFIG)
        asked, other = audit.why(load(tmp_path / "tiny.yaml"), root)
        assert asked.workload.startswith("tiny 4x8-")
        assert not other.hit
        return [answer.reason for answer in asked.entries]

    return why


def test_a_sound_winner_of_this_device_is_a_hit(keep: Keep, why: Why) -> None:
    keep()
    assert why() == [""]


def test_an_empty_cache_answers_nothing(tiny_folder: Path, why: Why) -> None:
    assert why() == []


@damaged
def test_what_export_would_refuse_is_no_hit(keep: Keep, why: Why, damage: Damage) -> None:
    folder = keep()
    damage(folder)
    (reason,) = why()
    assert reason
    assert folder.is_dir(), "to ask moves nothing"


def test_a_winner_of_another_problem_is_no_hit(keep: Keep, why: Why, tiny_folder: Path, tmp_path: Path) -> None:
    keep()
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    other = tmp_path / "other.py"
    other.write_text((tiny_folder / "problem.py").read_text() + "# another\n")
    asked = load(tmp_path / "tiny.yaml", {"problem": str(other)})
    (answer,) = audit.why(asked, tmp_path / "cache")[0].entries
    assert answer.reason.startswith("problem: cached ")


# ---- verify ----


def verify(root: Path, *templates: str) -> list[audit.Finding]:
    return audit.verify_cache(root, False, templates, print)


def test_sound_winners_are_ok(root: Path, keep: Keep) -> None:
    folders = [keep(), keep(shape=(5, 8))]
    assert verify(root, "templates/tiny") == [audit.Finding(folder, True, "ok") for folder in folders]


@damaged
def test_a_damaged_entry_is_quarantined_and_said_once(root: Path, keep: Keep, damage: Damage) -> None:
    folder, sound = keep(), keep(shape=(5, 8))
    damage(folder)
    first, second = verify(root, "templates/tiny")
    assert (first.folder, first.ok) == (folder, False)
    assert "it is not used, and was moved to" in first.said
    assert not first.said.startswith(str(root)) and "\n" not in first.said
    assert second == audit.Finding(sound, True, "ok")
    assert not folder.exists()
    assert len(list((root / store.QUARANTINE).iterdir())) == 1
    assert verify(root, "templates/tiny") == [second]


@damaged
def test_a_read_only_cache_is_judged_whole(
    root: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch, damage: Damage
) -> None:
    folder, sound = keep(), keep(shape=(5, 8))
    damage(folder)
    opened = os.open

    def refuse(path: Any, *arguments: Any, **keywords: Any) -> int:
        if str(path).endswith(store.LOCK):
            raise OSError(30, "Read-only file system")
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    first, second = verify(root, "templates/tiny")
    assert not first.ok
    assert "could not be moved aside" in first.said and first.said.endswith("Read-only file system")
    assert second == audit.Finding(sound, True, "ok")
    assert folder.exists()


def test_a_winner_of_an_unknown_template_is_no_fault(root: Path, keep: Keep) -> None:
    folder = keep()
    (found,) = verify(root)
    assert (found.folder, found.ok) == (folder, True)
    assert found.said.startswith("not checked: its template tiny is none of the project's")


def test_a_damaged_winner_of_an_unknown_template_is_one(root: Path, keep: Keep) -> None:
    DAMAGES["text altered"](keep())
    (found,) = verify(root)
    assert not found.ok
    assert "was moved to" in found.said


def test_a_stale_winner_is_named_and_stays(root: Path, keep: Keep, tiny_folder: Path) -> None:
    folder = keep()
    with (tiny_folder / "plain.cpp").open("a") as file:
        file.write("// newer\n")
    (found,) = verify(root, "templates/tiny")
    assert not found.ok
    assert found.said.startswith("template_digest differs: ")
    assert folder.exists()


def test_a_folder_without_a_record_is_no_entry(root: Path, keep: Keep) -> None:
    (keep() / store.RECORD).unlink()
    assert verify(root) == []


def test_a_template_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"no template\.py in"):
        verify(root, "templates/other")


def test_with_run_the_suite_judges_this_devices_winners(
    root: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(), keep(device_name="Another CPU")
    judged = []

    def suite(file: Path, *arguments: object, **more: object) -> NoReturn:
        judged.append(file)
        raise verdict.WrongFile(f"{file}: it crashed")

    monkeypatch.setattr(verdict, "verify", suite)
    other, own = audit.verify_cache(root, True, ["templates/tiny"], print)
    assert (other.ok, own.ok) == (True, False)
    assert judged == [own.folder / store.TEXT]
    assert own.said == "model_new.py: it crashed"
