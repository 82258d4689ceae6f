"""Whole searches in processes of their own: killed at any moment, or several at once on one study."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers.processes import alive, gone_within, wait_until, written
from helpers.project import CONFIG, Project, without_pulse

from tuner.records import Trial

pytestmark = [pytest.mark.usefixtures("needs_compiler"), pytest.mark.slow]

# `tuner`, with a line for every call in which something is timed: who, what, from when to when.
DRIVER = """
import json, os, time
from tuner.workers import worker

call = worker.Worker.call

def logged(self, request, deadline_s):
    begin, method = time.monotonic(), type(request).__name__
    try:
        return call(self, request, deadline_s)
    finally:
        if method in ("Sample", "RunForwards", "SampleBaseline", "WarmBaseline"):
            with open(os.environ["TUNER_TEST_TIMELINE"], "a") as file:
                file.write(json.dumps([os.getpid(), method, begin, time.monotonic()]) + "\\n")

worker.Worker.call = logged
if __name__ == "__main__":
    from tuner.cli.main import main
    main()
"""


class Timed(NamedTuple):
    """A line of the driver's, in seconds of the monotonic clock."""

    pid: int
    request: str
    began: float
    ended: float

    @property
    def device_free(self) -> float:
        return self.ended - 0.001  # the end is noted a moment after the lock was given back


class Outside(Project):
    """Searches of a project as processes of their own, with a temporary folder of their own."""

    def __init__(self, root: Path, config: str = CONFIG, **faults: str) -> None:
        super().__init__(root / "project", config, **faults)
        self.tmp, self.mark = root / "tmp", uuid.uuid4().hex
        self.tmp.mkdir()
        self.timeline = root / "timeline"
        self.driver = root / "driver.py"
        self.driver.write_text(DRIVER)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(self.tmp),
            "TUNER_TEST_MARK": self.mark,
            "TUNER_TEST_TIMELINE": str(self.timeline),
        }

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, str(self.driver), "search", "tiny.yaml", *arguments]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **more,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Everything alive that was started for this project, by a mark in its environment."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in path.read_bytes() and alive(int(path.parent.name)):
                    found.append(int(path.parent.name))
        return found

    def wait_for(self, count: int, search: subprocess.Popen[str]) -> None:
        wait_until(lambda: len(self.trials()) >= count, lambda: search.poll() is None)


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, out + err
    return out


def measured_once(project: Outside) -> list[Trial]:
    trials = project.trials()
    points = [str(trial.point) for trial in trials]
    assert len(points) == len(set(points))
    return trials


def test_a_search_killed_again_and_again_ends_where_one_left_alone_does(tmp_path: Path) -> None:
    project = Outside(tmp_path, CONFIG.replace("trials: 6", "trials: 8\nsampler: random"))
    kept: list[Trial] = []
    for count in (1, 4):
        search = project.start()
        project.wait_for(count, search)
        search.kill()
        search.communicate()
        assert gone_within(10, *project.processes()), "workers or compilers outlived their search"
        before, kept = kept, project.trials()
        assert kept[: len(before)] == before and len(kept) >= count
    assert list(project.tmp.glob("tuner-run-*"))
    out = finished(project.start())
    assert f"took over {len(kept)} trials of other runs" in out
    trials = measured_once(project)
    assert trials[: len(kept)] == kept and len(trials) == 8
    assert project.entry().record.trials["ok"] == 8
    assert not list(project.tmp.glob("tuner-run-*"))  # swept


def test_a_search_killed_while_it_compiles_leaves_no_compiler(tmp_path: Path) -> None:
    project = Outside(tmp_path)
    compiler, started = tmp_path / "c++", tmp_path / "started"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *main.cpp*) echo $$ > {started}; sleep 600;; *) exec g++ "$@";; esac\n'
    )
    compiler.chmod(0o755)
    project.environment["CXX"] = str(compiler)
    search = project.start()
    compiling = int(written(started, lambda: search.poll() is None))
    running = project.processes()
    assert compiling in running
    search.kill()
    search.communicate()
    assert gone_within(10, *running)


def test_ctrl_c_is_130_and_leaves_the_best_and_nothing_else(tmp_path: Path) -> None:
    project = Outside(tmp_path, CONFIG.replace("trials: 6", "trials: 30"), host="import time; time.sleep(0.01)")
    search = project.start()
    project.wait_for(3, search)
    os.killpg(search.pid, signal.SIGINT)  # as a terminal does, to the whole foreground group
    out, err = search.communicate(timeout=60)
    assert search.returncode == 130, out + err
    assert "stopped: interrupted" in out and "cached" in out and "Traceback" not in out + err
    project.entry()
    assert gone_within(10, *project.processes())
    assert not list(project.tmp.glob("tuner-run-*"))


def test_three_searches_at_once_on_one_study_and_cache(tmp_path: Path) -> None:
    """No trial is lost or made twice, no entry torn, and never do two of them time something at one moment."""
    count = 3
    project = Outside(tmp_path, CONFIG.replace("trials: 6", "trials: 12"), host="import time; time.sleep(0.002)")
    searches = [project.start("--json") for _ in range(count)]
    results = [json.loads(finished(search))[0] for search in searches]
    trials = measured_once(project)
    assert 12 <= len(trials) < 12 + count
    assert all(trial.evaluation.status.value == "ok" for trial in trials)
    assert max(result["trials"] for result in results) >= 12
    assert project.entry().record.model_dump(mode="json") in [result["record"] for result in results]

    lines = project.timeline.read_text().splitlines()
    timed = sorted((Timed(*json.loads(line)) for line in lines), key=lambda timed: timed.began)
    assert len({one.pid for one in timed}) == count
    assert not [(a, b) for a, b in itertools.pairwise(timed) if a.pid != b.pid and b.began < a.device_free]


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """The limit of a file's size acts on the study and on libraries alike: one line, no entry; without it, a winner."""
    project = Outside(tmp_path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, 16_000))

    search = project.start(preexec_fn=limit)
    out, err = search.communicate(timeout=120)
    assert search.returncode == 2, out + err
    said = without_pulse(err)
    assert said.startswith("tuner: ") and said.count("\n") == 1
    assert not list(project.root.rglob("record.json"))
    finished(project.start())
    project.entry()


def test_a_worker_that_runs_out_of_memory_costs_its_trial(tmp_path: Path) -> None:
    """Under a limit of address space every point with threads=2 asks for more than there is."""
    project = Outside(tmp_path, host="threads == 2 and torch.empty(2**36, dtype=torch.uint8).fill_(1)")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))

    search = project.start("--sampler", "random", preexec_fn=limit)
    finished(search)
    statuses = {(t.point.knobs["threads"], t.evaluation.status.value) for t in measured_once(project)}
    assert statuses == {(1, "ok"), (2, "launch")}
    assert project.entry().record.point.knobs["threads"] == 1
