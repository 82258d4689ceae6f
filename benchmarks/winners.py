"""The table of the cached winners: the shipped bytes beside every way to run the reference.

    python benchmarks/winners.py configs/*.yaml [--device auto] [--samples 100] [-o FILE.json]

Winners of one problem and shape are measured together with the five baselines, each in a process of its own, in
interleaved rounds. Each winner is verified again in a fresh process. Progress goes to stderr, the tables to stdout,
and the figures to benchmarks/results/<device>.json after every problem; rows of other problems stay there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuner import backends, settings, store, template
from tuner.backends import toolchain
from tuner.errors import TunerError
from tuner.execution import verdict
from tuner.execution.device_lock import DeviceLock
from tuner.execution.examination import Examination, Failed
from tuner.execution.job import Job
from tuner.execution.lane import Lane
from tuner.measurement.baselines import Baseline
from tuner.measurement.protocol import BaselineService, SampleBaseline, WarmBaseline
from tuner.measurement.statistics import Untrusted, paired_speedup, summarise
from tuner.records import Correctness, Environment, Floor, Record, Workload
from tuner.settings import resolve
from tuner.verification.papers import Values
from tuner.workers import scratch
from tuner.workers.protocol import Opening, Report, Request
from tuner.workers.worker import Worker, WorkerBug

ROUND = 5  # samples of one contestant in a row
CONTEST_S = 3600.0  # that the winners of one problem have on their benches
MARKED_SAMPLES = 3  # of which one answer is marked
FAILURES = (TunerError, Failed, Untrusted, WorkerBug)
RESULTS = Path(__file__).resolve().parent / "results"
WAYS = Baseline.WAYS
HEADINGS = {
    "eager": "eager",
    "eager_benchmark": "eager + benchmark",
    "compile": "compile",
    "compile_benchmark": "compile + benchmark",
    "max_autotune": "max-autotune",
}


@dataclass(frozen=True)
class Goal:
    """At least these speed-ups, over eager with default flags and over the strongest baseline, on one NVIDIA H200.

    `fused` with only what follows the convolution or product fused, `whole` with a main loop of our own.
    """

    fused: tuple[float, float | None]
    whole: tuple[float, float]


GOALS = {
    ("gn_mean", "match"): Goal((1.6, 1.2), (6, 4.4)),
    ("hardswish_gn_mean", "match"): Goal((1.4, None), (13, 5.2)),
    ("hardswish_gn_mean", "tf32"): Goal((3.2, 1.3), (22, 9)),
    ("relu_gn", "match"): Goal((2.8, 1.2), (3.1, 1.3)),
    ("gn_min_bias", "match"): Goal((1.12, 1.0), (4.8, 4.3)),
}
GOAL_DEVICE = "NVIDIA H200"
GOAL_MEANS = (5.8, 3.3)  # geometric means in class match

Row = dict[str, Any]
Sample = Callable[[int], list[float]]  # so many timings of a contestant, in ms


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# ---- what KernelBench scores -------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """With eager at atol = rtol = 1e-4: share of elements outside and largest difference, the worst of the seeds."""

    agrees: bool
    outside: float
    largest: float


@dataclass(frozen=True)
class Scored(Opening["Scored"]):
    """A service: does a file agree with the eager reference at 1e-4, parameters as PyTorch initialises them?"""

    path: Path
    workload: Workload
    device: str
    extensions: Path

    def open(self, report: Report) -> Scored:
        os.environ["TORCH_EXTENSIONS_DIR"] = str(self.extensions)
        backends.of(self.device).select()
        return self

    def agreement(self, path: Path, seeds: list[int]) -> Agreement:
        import torch

        from tuner import problem

        loaded, model_new = problem.load(self.path), problem.execute(path, "scored").ModelNew
        outside, largest = 0.0, 0.0
        for seed in seeds:
            x = problem.inputs(loaded, self.workload, seed, self.device)
            torch.manual_seed(seed)
            reference = loaded.model(*self.workload.init).to(self.device)
            torch.manual_seed(seed)
            model = model_new(*self.workload.init).to(self.device)
            with torch.no_grad():
                theirs, ours = reference(*x), model(*x)
                close = torch.isclose(ours, theirs, rtol=1e-4, atol=1e-4, equal_nan=True)
                outside = max(outside, 1 - close.double().mean().item())
                largest = max(largest, (ours - theirs).abs().max().item())
        return Agreement(outside == 0, outside, largest)


@dataclass(frozen=True)
class Score(Request[Scored, Agreement]):
    path: Path
    seeds: list[int]

    def run(self, service: Scored) -> Agreement:
        return service.agreement(self.path, self.seeds)


# ---- measuring ---------------------------------------------------------------------------------------


@dataclass
class Winner:
    """A cached winner that is to be measured."""

    config: Path
    record: Record
    text: str
    job: Job

    @property
    def name(self) -> str:
        return f"{self.record.template} {self.record.workload.precision}"


def winners_of(path: Path, options: dict[str, str | None]) -> tuple[list[Winner], list[Row]]:
    """The cached winners of one config, and a row with its reason for each that there is not."""
    wanted = settings.load(path, options)
    kernel = template.find(wanted.template, Path.cwd())
    torch_device, environment = backends.resolve(wanted.device), toolchain.environment()
    problem = resolve.problem_path(wanted, kernel)
    here = resolve.here(torch_device, environment)
    cache = settings.cache_root(path)
    found, missing = [], []
    for workload in resolve.workloads(wanted, problem, environment):
        job = Job(
            problem=problem, workload=workload, torch_device=torch_device,
            seed=secrets.randbits(31), error_budget=wanted.error_budget, compile_timeout_s=wanted.compile_timeout_s,
            run_timeout_s=wanted.run_timeout_s, environment=environment,
        )  # fmt: skip
        try:
            entry = store.get(cache, here.slug, kernel.name, workload.slug)
            if entry is None:
                raise TunerError(f"no winner in {cache}; run `tuner search {path}`")
            found.append(Winner(path, entry.record, store.load_checked(entry, kernel), job))
        except TunerError as error:
            missing.append(_row(path, kernel.name, workload) | {"fault": str(error)})
            say(f"{path}: {error}")
    return found, missing


def _row(config: Path, name: str, workload: Workload) -> Row:
    return {
        "config": config.name,
        "template": name,
        "precision": workload.precision,
        "init": workload.model_dump(mode="json")["init"],
        "shapes": [list(shape) for shape in workload.shapes],
    }


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__


def measure(
    group: list[Winner], ways: list[str], samples: int, seconds: float, deadline_s: float, thorough: bool
) -> list[Row]:
    """Rows of winners that share problem and shapes, with the baselines measured between their samples."""
    rows = {w.name: _row(w.config, w.record.template, w.record.workload) for w in group}
    lock = DeviceLock(group[0].job.torch_device, say)
    shown = f"{group[0].record.template} {'x'.join(map(str, group[0].record.workload.shapes[0]))}"
    contestants: dict[str, Sample] = {}
    faults: dict[str, str] = {}
    with scratch.subfolder() as folder, ExitStack() as stack:
        for winner in group:
            lane = Lane(winner.job, folder)
            stack.callback(lane.close)
            path = folder / f"{winner.record.candidate_sha256}.py"
            path.write_text(winner.text)
            try:
                say(f"{winner.name}: ceilings, oracle, building the winner")
                described = lane.describe()
                rows[winner.name]["floor"] = described.floor.model_dump(mode="json")
                lane.prepare()
                sides = lane.sides(lane.bench, time.monotonic() + CONTEST_S)
                finalist = Examination(sides, winner.name, path, winner.record.candidate_sha256)
                finalist.load()
                finalist.launch()
                finalist.samples(MARKED_SAMPLES, Values.MARKED)
                rows[winner.name] |= _verified(winner, path, folder, deadline_s, thorough)
                contestants[winner.name] = _finalist(finalist)
            except FAILURES as error:
                rows[winner.name]["fault"] = _reason(error)
                say(f"{winner.name}: {_reason(error)}")
        for way in ways if contestants else []:
            worker = stack.enter_context(Worker(group[0].job.baseline(way), group[0].job.environment))
            began = time.monotonic()
            try:
                with lock:
                    worker.call(WarmBaseline(), deadline_s)
                contestants[way] = _baseline(worker, lock, deadline_s)
                say(f"{shown}: {way} is warm after {time.monotonic() - began:.1f} s")
            except FAILURES as error:
                faults[way] = _reason(error)
                say(f"{shown}: {way} left out: {_reason(error)}")
        times, rounds = _rounds(contestants, samples, seconds, faults)
    say(f"{shown}: {', '.join(f'{name} {statistics.median(t):.4g} ms ({len(t)})' for name, t in times.items() if t)}")
    for winner in group:
        rows[winner.name] |= _summary(winner, times, rounds, ways, faults)
    return list(rows.values())


def _verified(winner: Winner, path: Path, folder: Path, deadline_s: float, thorough: bool) -> Row:
    """The suite and KernelBench's comparison, each in a fresh process and on fresh values."""
    say(f"{winner.name}: verifying in a fresh process")
    lane = Lane(replace(winner.job, seed=secrets.randbits(31)), folder)
    job = winner.job
    scored = Worker(Scored(job.problem, job.workload, job.torch_device, folder / "extensions"), job.environment)
    try:
        found = _correctness(lane, path, winner.record, thorough)
        lane.close()
        score = scored.call(Score(path, [secrets.randbits(31) for _ in range(2)]), deadline_s)
    finally:
        lane.close()
        scored.close()
    wrong = [f"case {case.name}: {case.detail}" for case in found.cases if not case.ok]
    return {
        "right": not wrong,
        "wrong": wrong,
        "cases": [case.name for case in found.cases],
        "error_ratio": found.error_ratio,
        "kernelbench": asdict(score),
    }


def _correctness(lane: Lane, path: Path, record: Record, thorough: bool) -> Correctness:
    """Every case there is, or those of a trial."""
    sha256, leaves = record.candidate_sha256, record.leaves
    if thorough:
        return verdict.examine(lane, path, sha256, leaves=leaves)
    sides = lane.sides(lane.bench, time.monotonic() + lane.job.run_timeout_s)
    trial = Examination(sides, "trial", path, sha256, leaves)
    trial.load()
    trial.launch()
    return trial.examine(complete=False)


def _finalist(finalist: Examination) -> Sample:
    """The first sample of each round finds its process idle; it counts for nothing."""
    return lambda count: finalist.samples(count + 1, Values.FRESH)[1:]


def _baseline(worker: Worker[BaselineService], lock: DeviceLock, deadline_s: float) -> Sample:
    def sample(count: int) -> list[float]:
        with lock:
            return worker.call(SampleBaseline(count), deadline_s)

    return sample


def _rounds(
    contestants: dict[str, Sample], samples: int, seconds: float, faults: dict[str, str]
) -> tuple[dict[str, list[float]], list[int]]:
    """Rounds over all contestants until each has its samples or the time is up, two rounds at least.

    Returns the samples in ms, and how many each round took.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    rounds: list[int] = []
    started, batch = time.monotonic(), 2
    while contestants and max(map(len, times.values())) < samples:
        began = time.monotonic()
        for name, sample in list(contestants.items()):
            try:
                times[name] += sample(batch)
            except FAILURES as error:
                faults[name] = _reason(error)
                times[name] = []
                del contestants[name]
        rounds.append(batch)
        now = time.monotonic()
        done = max(map(len, times.values()), default=0)
        if done > batch and now - started + (now - began) > seconds:
            break
        if now - began < seconds / 20:
            batch = max(1, min(ROUND, samples - done))
    return times, rounds


def _summary(
    winner: Winner, times: dict[str, list[float]], rounds: list[int], ways: list[str], faults: dict[str, str]
) -> Row:
    """What the samples of one winner and of the baselines say."""
    ours = times.get(winner.name)
    baselines: Row = {way: {"fault": faults.get(way, "not measured")} for way in ways}
    found: Row = {
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "variant": winner.record.point.variant,
        "knobs": winner.record.point.knobs,
        "candidate_sha256": winner.record.candidate_sha256,
        "baselines": baselines,
    }
    if not ours:
        return found | ({"fault": faults[winner.name]} if winner.name in faults else {})
    found["ours"] = summarise(ours).model_dump()
    for way in ways:
        if times.get(way):
            speedup, low, high = paired_speedup(ours, times[way], rounds)
            baselines[way] = summarise(times[way]).model_dump() | {"speedup": speedup, "low": low, "high": high}
    measured = [way for way in ways if "speedup" in baselines[way]]
    found["strongest"] = min(measured, key=lambda way: baselines[way]["latency_ms"], default=None)
    return found


# ---- tables ------------------------------------------------------------------------------------------


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _ms(value: float) -> str:
    return f"{value:.4g}"


def _speedup(row: Row, way: str | None) -> str:
    found = row["baselines"].get(way, {}) if way else {}
    return f"{found['speedup']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" if "speedup" in found else "-"


def _agreement(row: Row) -> str:
    score = row["kernelbench"]
    return "yes" if score["agrees"] else f"no: {score['outside']:.1%} outside"


def times_table(rows: list[Row]) -> str:
    """Medians in ms, share of the floor, error ratio, agreement, speed-ups."""
    headings = ["problem", "class", *(f"{HEADINGS[way]}, ms" for way in WAYS), "ours, ms", "floor, ms",
                "share of floor", "error ratio", "agrees at 1e-4", "over eager", "over the strongest"]  # fmt: skip
    lines = []
    for row in rows:
        if "ours" not in row:
            fault = row.get("fault", "not measured")
            lines.append([row["template"], row["precision"], fault, *[""] * (len(headings) - 3)])
            continue
        ours, floor = row["ours"]["latency_ms"], Floor.model_validate(row["floor"]).floor_ms
        cells = [row["baselines"].get(way, {}) for way in WAYS]
        lines.append(
            [row["template"], row["precision"],
             *(_ms(c["latency_ms"]) if "latency_ms" in c else "failed" if c else "-" for c in cells),
             _ms(ours), _ms(floor), f"{floor / ours:.1%}",
             f"{row['error_ratio']:.2f}" if row["right"] else f"WRONG: {row['wrong'][0]}", _agreement(row),
             _speedup(row, "eager"), f"{_speedup(row, row['strongest'])} ({HEADINGS.get(row['strongest'], '-')})"]
        )  # fmt: skip
    return table(headings, lines)


def limits_table(rows: list[Row]) -> str:
    """What has to be moved and computed, as a rate of the time taken, beside the ceilings of the same run."""
    headings = ["problem", "class", "bytes, MB", "rate, GB/s", "of read", "operations, GFLOP", "rate, TFLOP/s"]
    rates = [name for name in ("fp32_tflops", "tf32_tflops", "bf16_tflops") if any(name in _ceilings(r) for r in rows)]
    headings += [f"of {name.removesuffix('_tflops')}" for name in rates]
    lines = []
    for row in rows:
        floor, ceilings, seconds = row["floor"], _ceilings(row), row["ours"]["latency_ms"] / 1e3
        gbps, tflops = floor["bytes"] / seconds / 1e9, floor["flops"] / seconds / 1e12
        lines.append(
            [row["template"], row["precision"], f"{floor['bytes'] / 1e6:.1f}", f"{gbps:.4g}",
             f"{gbps / ceilings['read_gbps']:.1%}", f"{floor['flops'] / 1e9:.4g}", f"{tflops:.4g}",
             *(f"{tflops / ceilings[name]:.1%}" if name in ceilings else "-" for name in rates)]
        )  # fmt: skip
    seen = {
        name: [_ceilings(row)[name] for row in rows if name in _ceilings(row)]
        for name in ("read_gbps", "copy_gbps", *rates)
    }
    said = ", ".join(f"{name} {min(found):.4g} to {max(found):.4g}" for name, found in seen.items() if found)
    return f"{table(headings, lines)}\n\nCeilings measured in the same run: {said}."


def _ceilings(row: Row) -> dict[str, float]:
    return dict(row["floor"]["ceilings"])


def geometric_means(rows: list[Row]) -> dict[str, tuple[float, float, int]]:
    """For class match and for all rows: over eager, over the strongest baseline, and how many problems."""
    means = {}
    match = [row for row in rows if row["precision"] == "match"]
    for name, kept in (("match", match), *([("all", rows)] if match != rows else [])):
        eager = [s for r in kept if (s := r["baselines"].get("eager", {}).get("speedup"))]
        strongest = [r["baselines"][r["strongest"]]["speedup"] for r in kept if r["strongest"]]
        if eager and strongest:
            means[name] = statistics.geometric_mean(eager), statistics.geometric_mean(strongest), len(eager)
    return means


def goals_table(rows: list[Row]) -> str:
    """The goals beside what was reached."""
    lines = []
    for row in rows:
        goal = GOALS.get((row["template"], row["precision"]))
        if goal is None:
            continue
        for what, way, fused, whole in (
            ("eager", "eager", goal.fused[0], goal.whole[0]),
            ("the strongest", row["strongest"], goal.fused[1], goal.whole[1]),
        ):
            reached = row["baselines"].get(way, {}).get("speedup", math.nan)
            lines.append(
                [
                    row["template"],
                    row["precision"],
                    what,
                    f"{reached:.3f}",
                    *(_goal(reached, g) for g in (fused, whole)),
                ]
            )
    means = geometric_means(rows).get("match")
    if means and means[2] == sum(precision == "match" for _, precision in GOALS):
        for what, reached, goal_mean in zip(("eager", "the strongest"), means[:2], GOAL_MEANS, strict=True):
            lines.append(["geometric mean", "match", what, f"{reached:.3f}", "-", _goal(reached, goal_mean)])
    return table(
        ["problem", "class", "speed-up over", "reached", "goal, fused operations", "goal, own main loop"], lines
    )


def _goal(reached: float, goal: float | None) -> str:
    return "-" if goal is None else f"{goal:g} ({'reached' if reached >= goal else 'not reached'})"


def shown(rows: list[Row], device_name: str) -> str:
    parts = [times_table(rows)]
    measured = [row for row in rows if "ours" in row]
    for name, (eager, strongest, count) in geometric_means(measured).items():
        what = "in class match" if name == "match" else "over all rows"
        parts.append(f"Geometric mean {what} ({count}): {eager:.3f} over eager, {strongest:.3f} over the strongest.")
    if measured:
        parts.append(limits_table(measured))
    if measured and device_name == GOAL_DEVICE:
        parts.append(goals_table(measured))
    return "\n\n".join(parts)


# ---- the command -------------------------------------------------------------------------------------


def save(path: Path, environment: dict[str, Any], rows: list[Row]) -> list[Row]:
    """Write the rows; those already in the file for other problems stay. Returns all of them."""

    def key(row: Row) -> str:
        return json.dumps([row["template"], row["precision"], row["init"], row["shapes"]])

    kept = {key(row): row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    kept |= {key(row): row for row in rows if "ours" in row or key(row) not in kept}
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".new", delete=False) as file:
        json.dump({"date": date, "environment": environment, "rows": list(kept.values())}, file, indent=1)
        file.write("\n")
    os.replace(file.name, path)
    return list(kept.values())


def print_table(environment: Environment, rows: list[Row]) -> None:
    print(f"{environment.device_name}, PyTorch {environment.torch}, driver {environment.driver}, toolkit "
          f"{environment.toolkit}; medians of whole-module forwards.\n")  # fmt: skip
    print(shown(rows, environment.device_name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="none: print the table of the file at -o")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu; default: the config's")
    parser.add_argument("--samples", type=int, default=100, help="of each contestant")
    parser.add_argument("--seconds", type=float, default=30, help="of sampling for one problem, at most")
    parser.add_argument("--deadline", type=float, default=120, help="seconds that one baseline may take to warm up")
    parser.add_argument("--baselines", default=",".join(WAYS), help="which, separated by commas")
    parser.add_argument("--thorough", action="store_true", help="verify with every case of the winner's check")
    parser.add_argument("-o", "--output", type=Path, help="the JSON file (default: benchmarks/results/<device>.json)")
    options = parser.parse_args()
    ways = [way for way in options.baselines.split(",") if way]
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        parser.error(f"--baselines: {unknown[0]!r} is not one of {', '.join(WAYS)}")
    if not options.configs:
        if options.output is None:
            parser.error("name configs to measure, or with -o the file whose table is wanted")
        found = json.loads(options.output.read_text())
        print_table(Environment.model_validate(found["environment"]), found["rows"])
        return 0
    groups: dict[str, list[Winner]] = {}
    rows: list[Row] = []
    try:
        for path in options.configs:
            found, missing = winners_of(path, {"device": options.device})
            rows += missing
            for winner in found:
                workload = winner.record.workload
                groups.setdefault(str((winner.job.problem, workload.init, workload.shapes)), []).append(winner)
        torch_device = backends.resolve(options.device or "auto")
        if groups:
            torch_device = next(iter(groups.values()))[0].job.torch_device
        environment = resolve.here(torch_device, toolchain.environment())
    except TunerError as error:
        print(f"winners: {error}", file=sys.stderr)
        return 2
    output = options.output or RESULTS / f"{environment.slug}.json"
    for group in groups.values():
        rows += measure(group, ways, options.samples, options.seconds, options.deadline, options.thorough)
        save(output, environment.model_dump(mode="json"), rows)
    print_table(environment, rows)
    if groups:
        say(f"written: {output}")
    return 0 if rows and all("ours" in row and row.get("right") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
