"""One problem of a suite: the commands that draft, search, export and judge it, each a process with a deadline."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.records import Record, Status
from tuner.search.ledger import Ledger

LEAVE_S = 15.0  # what a command gets to end its own processes in order
NEAR = 1.05  # of a search's best time: near enough to have been found
# The phases of `tuner search`, each with the beginning of the line on stderr that ends it.
PHASES = (
    ("drafting", "starting the measuring process"),
    ("starting", "searching"),
    ("search", "final: "),
    ("baselines", "final: sampling"),
    ("sampling", "final: looking"),
)
LAST_PHASE = "verifying"

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What every problem of a suite is given; a row that was made with others is made again."""

    seconds_each: float = 20.0
    final_budget_s: float = 6.0
    baselines: tuple[str, ...] = ("eager", "compile_benchmark")
    device: str = "auto"
    time_limit_s: float = 240.0
    export: bool = True
    verify: bool = True
    more: tuple[str, ...] = ()  # further options of `tuner search`


@dataclass
class Ended:
    """A command that is over. `code` is None when its deadline ended it; lines are of stderr, with their seconds."""

    code: int | None
    output: str
    lines: list[tuple[float, str]]
    began: float  # seconds since the epoch
    seconds: float

    @property
    def last_line(self) -> str:
        return next((text for _, text in reversed(self.lines) if text.strip()), "").strip()


class Failed(Exception):
    """The problem got no kernel: (status, reason)."""


@dataclass
class Running:
    """The commands under way. `end` ends them all, and whichever would follow."""

    tuner: tuple[str, ...] = (sys.executable, "-m", "tuner")
    environment: dict[str, str] = field(default_factory=dict)
    processes: set[subprocess.Popen[str]] = field(default_factory=set)
    ended: bool = False

    def command(self, arguments: list[str], deadline: float, cache: Path) -> Ended:
        """Run `tuner ARGUMENTS` until it ends or `deadline` on the monotonic clock has passed."""
        began, started = time.time(), time.monotonic()
        process = subprocess.Popen(
            [*self.tuner, *arguments],
            env={**os.environ, **self.environment, "TUNER_CACHE_DIR": str(cache)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        self.processes.add(process)
        lines: list[tuple[float, str]] = []
        printed: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        streams = process.stdout, process.stderr
        readers = [
            threading.Thread(target=lambda: printed.append(streams[0].read()), daemon=True),
            threading.Thread(
                target=lambda: lines.extend((time.monotonic() - started, line.rstrip()) for line in streams[1]),
                daemon=True,
            ),
        ]
        for reader in readers:
            reader.start()
        try:
            if self.ended:
                raise KeyboardInterrupt
            code: int | None = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
            self.processes.discard(process)
        for reader in readers:
            reader.join(LEAVE_S)  # what outlived the command may hold its streams open
        return Ended(code, "".join(printed), lines, began, time.monotonic() - started)

    def end(self) -> None:
        self.ended = True
        for process in list(self.processes):
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a command and what it started: by SIGTERM, which it obeys in order, then for good."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LEAVE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def attempt(
    problem: Path, name: str, options: Options, folder: Path, running: Running, device: str | None = None
) -> Row:
    """The row of one problem; whatever becomes of it is in the row. `folder` is its own and keeps what was made.

    `device` is one of those that the options name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row: Row = identity(problem, name, options)
    options = replace(options, device=device or options.device)
    deadline = time.monotonic() + options.time_limit_s
    seconds: dict[str, float] = {}
    row |= {"status": "right", "reason": "", "seconds": seconds}
    try:
        _search(problem, options, folder, running, deadline, row)
        if options.export:
            _export_and_verify(problem, options, folder, running, deadline, row)
    except Failed as failed:
        row["status"], row["reason"] = failed.args
    row["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return row


def identity(problem: Path, name: str, options: Options) -> Row:
    """What a row is of: the same again need not be measured again."""
    wanted = {key: value for key, value in vars(options).items() if key != "time_limit_s"}
    return {
        "problem": name,
        "sha256": hashlib.sha256(problem.read_bytes()).hexdigest(),
        "options": json.loads(json.dumps(wanted)),
    }


def _search(problem: Path, options: Options, folder: Path, running: Running, deadline: float, row: Row) -> None:
    cache = folder / "cache"
    ended = running.command(
        ["search", str(problem), "--json", "--fresh", "--device", options.device,
         "--time-budget-s", f"{options.seconds_each:g}", "--final-budget-s", f"{options.final_budget_s:g}",
         "--baselines", ",".join(options.baselines), *options.more],
        deadline, cache,
    )  # fmt: skip
    _keep(folder / "search", ended)
    row["seconds"] |= phases(ended)
    found = _json(ended.output)
    row |= _near_best(cache, ended)
    if ended.code != 0:
        raise Failed(*_fault(ended, problem, "search", options, cache))
    if not found or not found[0].get("record"):
        raise Failed("failed", "search printed no record")
    row |= figures(found[0])
    if not row["confirmed"]:
        raise Failed("failed", "the search was interrupted: its best is not confirmed")


def _export_and_verify(
    problem: Path, options: Options, folder: Path, running: Running, deadline: float, row: Row
) -> None:
    submission = folder / "submission.py"
    submission.unlink(missing_ok=True)
    device = ["--device", options.device]
    ended = running.command(
        ["export", str(problem), "-o", str(submission), "--force", *device], deadline, folder / "cache"
    )
    _keep(folder / "export", ended)
    row["seconds"]["export"] = ended.seconds
    if ended.code != 0:
        raise Failed(*_fault(ended, problem, "export", options, folder / "cache"))
    if not options.verify:
        return
    leaves = ["--leaves", ",".join(row["leaves"])] if row["leaves"] else []
    ended = running.command(
        ["verify", str(submission), "--problem", str(problem), "--json", *device, *leaves], deadline, folder / "cache"
    )
    _keep(folder / "verify", ended)
    row["seconds"]["verify"] = ended.seconds
    verdict = _json(ended.output)
    if ended.code == 0 and verdict and verdict.get("ok"):
        row["error_ratio"] = max(row["error_ratio"], verdict["error_ratio"])
        row["agrees"] = row["agrees"] and verdict["agrees_with_eager"]
        return
    if not verdict:
        raise Failed(*_fault(ended, problem, "verify", options, folder / "cache"))
    wrong = next((f"case {c['name']}: {c['detail']}" for c in verdict.get("cases", ()) if not c["ok"]), "")
    status = "refused" if verdict["verdict"] == "cannot be judged" else "failed"
    raise Failed(status, f"{verdict['verdict']}: {verdict['reason'] or wrong}")


def _keep(path: Path, ended: Ended) -> None:
    """What a command printed, for whoever asks why."""
    path.with_suffix(".json").write_text(ended.output)
    path.with_suffix(".log").write_text("".join(f"{at:8.2f} {text}\n" for at, text in ended.lines))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _fault(ended: Ended, problem: Path, step: str, options: Options, cache: Path) -> tuple[str, str]:
    """Status and reason of a command that went wrong, without the folders that this run had.

    A line that begins with the problem's path says what is wrong with the problem: it is refused.
    """
    if ended.code is None:
        return "timeout", f"in {step}, after {ended.seconds:.0f} s of {options.time_limit_s:g} in all"
    line = ended.last_line.removeprefix("tuner: ").replace(f"{cache}/.drafts/", "")
    if ended.code == 3:
        return "refused", line.replace(f"{problem}: ", "")
    if ended.code == 2 and line.startswith(str(problem)):
        return "refused", line.removeprefix(str(problem)).lstrip(": ")
    if ended.code == 1 and step == "search":  # nothing right was found: the screen counts what the trials said
        said = [text.strip() for _, text in ended.lines if " x " in text[:12]]
        line = f"no right kernel: {'; '.join(said[:2])}" if said else line
    if ended.code < 0:
        line = f"ended by signal {-ended.code}; {line}"
    return "failed", f"{step}: {line or f'exit code {ended.code}'}"[:400]


def phases(ended: Ended) -> dict[str, float]:
    """Seconds of each phase of a search, by when its lines came."""
    found: dict[str, float] = {}
    at = 0.0
    lines = iter(ended.lines)
    for phase, ends_with in PHASES:
        until = next((when for when, text in lines if text.startswith(ends_with)), None)
        if until is None:
            found[phase] = ended.seconds - at
            return found
        found[phase], at = until - at, until
    found[LAST_PHASE] = ended.seconds - at
    return found


def _near_best(cache: Path, ended: Ended) -> Row:
    """Seconds of the search until a trial was within NEAR of the best that it found, and what became of its trials."""
    trials = [trial for path in sorted((cache / ".runs").glob("*.jsonl")) for trial in Ledger(path).read()]
    said = Counter(trial.evaluation.status.value for trial in trials)
    row: Row = {"trials": dict(said)}
    began = next((ended.began + at for at, text in ended.lines if text.startswith("searching")), None)
    ok = [trial for trial in trials if trial.evaluation.status is Status.OK]
    if began is not None and ok:
        best_ms = min(trial.evaluation.latency_ms for trial in ok)
        near = [trial.finished for trial in ok if trial.evaluation.latency_ms <= NEAR * best_ms]
        row["near_best_s"] = min(map(datetime.datetime.fromisoformat, near)).timestamp() - began
    return row


def figures(result: dict[str, Any]) -> Row:
    """The figures of a row, of what `tuner search --json` says of its one workload."""
    record = Record.model_validate(result["record"])
    correctness = record.evaluation.correctness
    assert correctness is not None  # of a winner
    kernels = result.get("kernels")
    return {
        "device": record.environment.device_name,
        "torch": record.environment.torch,
        "class": record.workload.precision,
        "dtype": record.workload.dtype_names,
        "kernels": len(kernels) if isinstance(kernels, list) else kernels,
        "leaves": list(record.leaves),
        "point": str(record.point),
        "confirmed": record.confirmed,
        "ours_ms": record.latency_ms,
        "baselines": {
            each.name: {
                "ms": each.performance.latency_ms,
                "speedup": each.speedup,
                "low": each.speedup_low,
                "high": each.speedup_high,
            }
            for each in record.baselines
        },
        "floor_ms": record.floor.floor_ms if record.floor else None,
        "error_ratio": correctness.error_ratio,
        "agrees": correctness.agrees_with_eager,
    }
