"""A whole search on a local cluster of two lanes: compiled, judged, timed and decided in the workers' processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.project import CONFIG, Project

pytest.importorskip("distributed")

from tuner.backends.cpu import allowed

CORES = sorted(allowed())
pytestmark = [
    pytest.mark.usefixtures("needs_compiler"),
    pytest.mark.slow,
    pytest.mark.skipif(len(CORES) < 2, reason="wants two cores"),
]
LANES = [f"cpu:{core}-{core}" for core in CORES[:2]]


def test_a_search_on_a_cluster_ends_in_the_cache_of_who_began_it(tmp_path: Path) -> None:
    config = CONFIG.replace("device: cpu\n", "").replace("trials: 6", "trials: 8\nsampler: random")
    project = Project(tmp_path, config)
    code, out, err = project.run(
        "search", "tiny.yaml", "--cluster", "local", "--devices", ",".join(LANES), "--events", "events.jsonl"
    )
    assert code == 0, out + err
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {text.split()[0] for event in events if "1 cores" in (text := str(event.get("text")))} >= set(LANES)
    trials = project.trials()
    assert len(trials) == len({str(trial.point) for trial in trials}) == 8
    assert all(trial.evaluation.correctness is not None for trial in trials)
    record = project.entry().record
    assert record.confirmed and record.environment.cores == 1
    assert any(event["event"] == "final" for event in events)  # what a worker says is told here
    assert "1 of 1 searches done" in out
