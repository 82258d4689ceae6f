"""Searches of one command on several devices of the host: lanes on cores of their own stand for cards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.project import CONFIG, Project

from tuner import store
from tuner.backends.cpu import allowed

CORES = sorted(allowed())
pytestmark = [
    pytest.mark.usefixtures("needs_compiler"),
    pytest.mark.slow,
    pytest.mark.skipif(len(CORES) < 2, reason="wants two cores"),
]
LANES = tuple(f"cpu:{core}-{core}" for core in CORES[:2])
DEVICES = ",".join(LANES)
TWO = CONFIG.replace("device: cpu\n", "").replace("trials: 6", "trials: 4") + "shapes: [[4, 8], [6, 8]]\n"
ONE = CONFIG.replace("device: cpu\n", "").replace("trials: 6", "trials: 12\nsampler: random")


def events_of(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / "events.jsonl").read_text().splitlines()]


def searched(project: Project, *more: str) -> tuple[str, list[dict[str, Any]]]:
    code, out, err = project.run("search", "tiny.yaml", "--devices", DEVICES, "--events", "events.jsonl", *more)
    assert code == 0, out + err
    return out, events_of(project)


def test_searches_are_shared_out_each_on_one_device_to_its_end(tmp_path: Path) -> None:
    out, events = searched(project := Project(tmp_path, TWO))
    workloads = {str(event["workload"]["inputs"]): event["device"] for event in events if event["event"] == "search"}
    assert sorted(workloads.values()) == sorted(LANES)
    assert not [event for event in events if "helps" in str(event.get("text"))]
    assert {entry.record.environment.cores for entry in store.entries(project.cache)} == {1}
    assert len(store.entries(project.cache)) == 2 and len(project.trials()) == 8
    assert "2 of 2 searches done" in out


def test_the_trials_of_one_search_are_spread_and_its_final_is_on_one_device(tmp_path: Path) -> None:
    _, events = searched(project := Project(tmp_path, ONE))
    trials = project.trials()
    assert len(trials) == len({str(trial.point) for trial in trials}) == 12
    assert any("helps" in str(event.get("text")) for event in events)
    finals = {event["device"] for event in events if event["event"] == "stage" and "sampling" in event["text"]}
    assert len(finals) == 1
    assert project.entry().record.confirmed
