"""A small template and records for it, so that no test needs a compiler, a GPU or a search."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from helpers.tiny import EVIDENCE, HERE, TINY, MakeRecord, Put, changed, text_of
from hypothesis.configuration import set_hypothesis_home_dir

from tuner import store, template
from tuner.records import (
    Comparison,
    Correctness,
    Evaluation,
    Floor,
    Performance,
    Precision,
    Record,
    Status,
    TensorSpec,
    Workload,
)
from tuner.space import Point
from tuner.template import render

# Nothing that the machine's user has set reaches a test, a fixture of any scope or a process that they start.
for _name in [name for name in os.environ if name.startswith("TUNER_")]:
    del os.environ[_name]

# A shell's background job ignores SIGINT, and so would the searches that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Runs side by side have each its own place for locks and compilers: none waits for another to have measured.
if "PYTEST_XDIST_WORKER" in os.environ:
    _PLACE = tempfile.TemporaryDirectory(prefix=f"tuner-{os.environ['PYTEST_XDIST_WORKER']}-")
    os.environ["TMPDIR"] = tempfile.tempdir = _PLACE.name

# Every run draws the same examples and leaves nothing behind.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same")
_HYPOTHESIS_HOME = tempfile.TemporaryDirectory(prefix="hypothesis-")  # its tables of characters and constants
set_hypothesis_home_dir(_HYPOTHESIS_HOME.name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, so that what they share is compiled once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # which puts the longest files first by their number of tests; see below
    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates" / "tiny"
    folder.mkdir(parents=True)
    for name, text in TINY.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def tiny(tiny_folder: Path) -> template.Template:
    return template.load(tiny_folder)


@pytest.fixture
def make_record(tiny: template.Template) -> MakeRecord:
    """A sound record of `tiny`; keywords change the point, the workload, the time or the environment."""

    def make(
        latency_ms: float = 1.0,
        shape: tuple[int, ...] = (4, 8),
        precision: Precision = "match",
        eager_low: float = 1.9,
        knobs: dict[str, Any] | None = None,
        error_budget: float = 8.0,
        confirmed: bool = True,
        **environment: Any,
    ) -> Record:
        variant = tiny.variant("plain")
        workload = Workload(init=(shape[-1],), inputs=(TensorSpec(shape=shape),), precision=precision)
        performance = Performance(latency_ms=latency_ms, q25_ms=latency_ms, q75_ms=latency_ms, samples=9)
        eager = Performance(latency_ms=2.0, q25_ms=1.9, q75_ms=2.1, samples=9)
        record = Record(
            template="tiny",
            template_digest=render.digest(tiny, variant),
            problem_sha256="0" * 64,
            workload=workload,
            point=Point.of("plain", {"unroll": 4, "order": "rows", "fast": True, "threads": 1, **(knobs or {})}),
            candidate_sha256="",
            environment=changed(HERE, **environment),
            error_budget=error_budget,
            evaluation=Evaluation(
                status=Status.OK,
                correctness=Correctness(cases=EVIDENCE, error_ratio=1.25, agrees_with_eager=True),
                performance=performance,
            ),
            confirmed=confirmed,
            baselines=(
                Comparison(name="eager", performance=eager, speedup=2.0, speedup_low=eager_low, speedup_high=2.1),
            ),
            floor=Floor(bytes=1, flops=1, memory_ms=0.5, compute_ms=0.1, ceilings={"read_gbps": 10.0}),
            trials={"ok": 3},
            seed=0,
            created="2026-01-02T03:04:05Z",
        )
        return changed(record, candidate_sha256=text_of(tiny, record).sha256)

    return make


@pytest.fixture
def put(tiny: template.Template, make_record: MakeRecord) -> Put:
    """Store a winner of `tiny` and return its record."""

    def put(root: Path, replace: bool = False, **changes: Any) -> Record:
        record = make_record(**changes)
        store.put(root, record, text_of(tiny, record).text, replace)
        return record

    return put


@pytest.fixture
def needs_compiler() -> None:
    if not (shutil.which("c++") or shutil.which("g++")):
        pytest.skip("no C++ compiler")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files run first, and what is marked `gpu` is skipped without one."""
    _slow_files_first(items)
    _skip_without_gpu(items)


def _slow_files_first(items: list[pytest.Item]) -> None:
    """A file runs in one process: a slow one that came last would keep that one busy while the others are done."""
    slow, tests = Counter[Path](), Counter[Path]()
    for item in items:
        tests[item.path] += 1
        slow[item.path] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path], item.path))


def _skip_without_gpu(items: list[pytest.Item]) -> None:
    """Whether or not a test looks for a GPU itself."""
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
