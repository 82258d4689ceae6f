"""The tests of what can go wrong, by kind of fault: runs them, prints a table.

    python benchmarks/faults.py

A test passes when its fault failed its own trial or command with its own phase or line, and the
control after it was clean. Every test of these files counts, also those of the ordinary way
beside a fault. Without a GPU its row is skipped.
"""

from __future__ import annotations

import contextlib
import io
import platform
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent / "tests"
ROWS = {
    "worker processes: deadlines, deaths, orphans": ["workers/test_worker.py", "workers/test_scratch.py"],
    "trials: compiling, loading, launching, out of memory": ["execution/test_pipeline.py"],
    "trials on a GPU: broken device, endless kernel": ["execution/test_gpu_faults.py"],
    "search and ledger: kills, torn lines, damaged studies": ["search/test_study.py", "search/test_ledger.py"],
    "whole searches: killed, at once, contestants that die": ["execution/test_faults.py", "search/test_run.py"],
    "workers of a cluster: killed, failing, of other versions": ["cluster/test_fleet.py", "cluster/test_workers.py"],
    "the cache: killed at every step, altered, full disk": [
        "store/test_writing.py",
        "store/test_reading.py",
        "store/test_audit.py",
    ],
    "a busy or throttled device, times that are none": [
        "measurement/test_conditions.py",
        "measurement/test_statistics.py",
    ],
    "bad input": ["cli/test_main.py", "cli/test_search.py", "settings/test_faults.py"],
    "fuzzed input": ["cli/test_fuzz.py"],
}


class Outcomes:
    """A pytest plugin that counts outcomes by file."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.split("::")[0].removeprefix("tests/")
            self.counts.setdefault(name, Counter())[report.outcome] += 1
            if report.failed:
                self.failed.append(report.nodeid)


def main() -> int:
    outcomes = Outcomes()
    files = [str(TESTS / name) for names in ROWS.values() for name in names]
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*files, "-q", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent)], plugins=[outcomes])
    print(f"{platform.machine()}, Python {platform.python_version()}, {time.perf_counter() - began:.0f} s\n")
    print("| tests of | run | passed | skipped |")
    print("|---|---|---|---|")
    total: Counter[str] = Counter()
    for row, names in ROWS.items():
        counts = sum((outcomes.counts.get(name, Counter()) for name in names), Counter())
        total += counts
        print(f"| {row} | {counts['passed'] + counts['failed']} | {counts['passed']} | {counts['skipped']} |")
    print(f"| all | {total['passed'] + total['failed']} | {total['passed']} | {total['skipped']} |")
    for name in outcomes.failed:
        print(f"failed: {name}")
    return 1 if outcomes.failed or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
