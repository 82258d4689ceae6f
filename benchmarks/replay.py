"""How near the best comes a search after so many trials? Samplers on recorded spaces, answered from the records.

    python benchmarks/replay.py FOLDER [--seeds 15] [--capacity 1,8] [--samplers gaussian,tpe] [--kernel-tuner pso,mls]
                                       [--noise 0] [-o FILE.md]

FOLDER holds exhaustive measurements (formats: recorded.py). A run is one search by one sampler with one seed; points
that were not recorded are refused by a constraint and cost nothing, failed ones cost a trial. Printed: the mean over
runs and spaces of the best time there is over the best found (1 is the optimum) after 25, 50, 100 and 200 trials, with
a 95 % bootstrap interval over the seeds, the worst single run at 100, and the CPU time of a proposal. With noise, a
search is judged by the true time of the point that it takes for the best.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import math
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import replay_kernel_tuner
from printed import on_one_thread, printed
from recorded import Recorded, read
from replay_kernel_tuner import PREFIX, STRATEGIES

from tuner.records import Correctness, Evaluation, Performance, Status, Trial
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.search.samplers import SAMPLERS
from tuner.space import Point

CHECKPOINTS = (25, 50, 100, 200)
LEAST_GAINS = (0.004, 0.001, 0.0003, 0.0001)
# Knobs of public benchmark kernels whose integers name ways of doing something.
CATEGORIES = "between_method,use_method,sh_power,tile_stride_x,tile_stride_y"
RIGHT = Correctness(cases=(), error_ratio=0.0, agrees_with_eager=True)


class Forgetful(Ledger):
    """A ledger that keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def append(self, trial: Trial) -> None:
        return None


class Replay:
    """Answers from the records, first come, first served."""

    def __init__(self, recorded: Recorded, capacity: int, noise: float, seed: int) -> None:
        self.recorded, self.capacity, self.noise, self.waited_s = recorded, capacity, noise, 0.0
        self.random = random.Random(seed)
        self.waiting: list[tuple[int, Point]] = []

    def submit(self, number: int, point: Point) -> None:
        self.waiting.append((number, point))

    def next(self) -> tuple[int, str, Evaluation]:
        number, point = self.waiting.pop(0)
        ms = self.recorded.times[point]
        if ms == math.inf:
            return number, "0" * 64, Evaluation(status=Status.LAUNCH, detail="recorded as failed")
        ms *= math.exp(self.random.gauss(0, self.noise))
        timed = Performance(latency_ms=ms, q25_ms=ms, q75_ms=ms, samples=1)
        return number, "0" * 64, Evaluation(status=Status.OK, correctness=RIGHT, performance=timed)


@dataclass(frozen=True)
class Task:
    space: int  # its place in SPACES
    sampler: str
    seed: int
    capacity: int
    noise: float


@dataclass(frozen=True)
class Run:
    """What one search found: the part of the optimum at each checkpoint; CPU ms of its proposals, in order."""

    parts: list[float]
    proposal_ms: list[float]
    course: list[tuple[float, float]]  # after each trial: the gain that the sampler expects of another, the part so far


SPACES: list[Recorded] = []


def run(task: Task) -> Run:
    recorded = SPACES[task.space]
    if task.sampler.startswith(PREFIX):
        return run_elsewhere(recorded, task)
    search = Search(recorded.space, task.sampler, task.seed, None, "replay", Forgetful())
    took: list[float] = []
    propose = search.sampler.propose

    def timed(under_way: Collection[Point]) -> Point | None:
        started = time.process_time()
        point = propose(under_way)
        took.append((time.process_time() - started) * 1e3)
        return point

    search.sampler.propose = timed  # type: ignore[method-assign]
    evaluator = Replay(recorded, task.capacity, task.noise, task.seed)
    gains: list[float] = []
    trials = search.run(
        evaluator, Budget(CHECKPOINTS[-1]), lambda progress: gains.append(progress.expected_gain)
    ).trials
    so_far = parts_of(recorded, trials)
    return Run([so_far[count - 1] for count in CHECKPOINTS], took, list(zip(gains, so_far, strict=False)))


def run_elsewhere(recorded: Recorded, task: Task) -> Run:
    """The same of one of Kernel Tuner's strategies."""
    times, trial_ms = replay_kernel_tuner.ordered(
        recorded, task.sampler.removeprefix(PREFIX), task.seed, CHECKPOINTS[-1]
    )
    parts = [recorded.best_ms / best for best in itertools.accumulate(times, min)]
    return Run([parts[min(count, len(parts)) - 1] for count in CHECKPOINTS], [trial_ms], [])


def parts_of(recorded: Recorded, trials: list[Trial]) -> list[float]:
    """The part of the optimum that the best of the first 1, 2, … trials has, and the last one's up to all trials."""
    found, best = [], trials[0]
    for trial in trials:
        best = min(best, trial, key=lambda each: each.evaluation.latency_ms)
        found.append(recorded.best_ms / recorded.times[best.point])
    return found + [found[-1]] * (CHECKPOINTS[-1] - len(found))


def interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over spaces and seeds; `values` is (spaces, seeds), seeds are drawn anew."""
    rng = np.random.default_rng(0)
    drawn = [values[:, rng.integers(0, values.shape[1], values.shape[1])].mean() for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def row(name: str, runs: list[list[Run]]) -> str:
    """A line of the table: `runs` holds those of each space."""
    parts = np.array([[r.parts for r in of_space] for of_space in runs])
    cells = []
    for at in range(len(CHECKPOINTS)):
        low, high = interval(parts[:, :, at])
        cells.append(f"{parts[:, :, at].mean():.3f} [{low:.3f}, {high:.3f}]")
    early = statistics.mean(ms for of_space in runs for r in of_space for ms in r.proposal_ms[:100])
    late = statistics.mean(ms for of_space in runs for r in of_space for ms in r.proposal_ms[-20:])
    worst = parts[:, :, CHECKPOINTS.index(100)].min()
    return f"| {name} | " + " | ".join(cells) + f" | {worst:.2f} | {early:.1f} | {late:.1f} |"


def strategies(options: argparse.Namespace) -> list[str]:
    """Those of Kernel Tuner that are wanted; none where it is not installed or cannot read the spaces."""
    if importlib.util.find_spec("kernel_tuner") is None or options.split or options.noise:
        return []
    return [name for name in options.kernel_tuner.split(",") if name]


def stopping(name: str, least_gain: float, runs: list[Run]) -> str:
    """A line of the table of stopping: what runs up to the last checkpoint would have saved and lost."""
    ended = [next((i for i, (gain, _) in enumerate(r.course) if gain < least_gain), len(r.course) - 1) for r in runs]
    then = [r.course[at][1] for r, at in zip(runs, ended, strict=True)]
    last = [r.parts[-1] for r in runs]
    early = statistics.mean(at < len(r.course) - 1 for r, at in zip(runs, ended, strict=True))
    lost = max(1 - one / other for one, other in zip(then, last, strict=True))
    return (
        f"| {name} | {least_gain:.2%} | {early:.0%} | {statistics.mean(ended) + 1:.0f} | {statistics.mean(then):.4f} "
        f"| {statistics.mean(last):.4f} | {lost:.1%} |"
    )


def report(options: argparse.Namespace) -> Iterator[str]:
    samplers, capacities = options.samplers.split(","), [int(n) for n in options.capacity.split(",")]
    elsewhere = strategies(options)
    columns = [(capacity, sampler) for capacity in capacities for sampler in samplers]
    columns += [(1, PREFIX + name) for name in elsewhere]
    if elsewhere:
        yield f"Kernel Tuner {importlib.metadata.version('kernel_tuner')}, which measures one point at a time"
    yield f"Spaces: {', '.join(recorded.name for recorded in SPACES)}; {options.seeds} seeds" + (
        f"; noise of {options.noise:g}" if options.noise else ""
    )
    if options.split:
        yield f"Variants: one for each combination of {options.split}"
    heads = ["search", *map(str, CHECKPOINTS), "worst at 100", "ms a proposal, first 100", "last 20"]
    tasks = [
        Task(space, sampler, seed, capacity, options.noise)
        for capacity, sampler in columns
        for space in range(len(SPACES))
        for seed in range(options.seeds)
    ]
    single: list[str] = []
    stops: list[str] = []
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        results = pool.imap(run, tasks, chunksize=1)
        yield "\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads)
        for capacity, sampler in columns:
            runs = [[next(results) for _ in range(options.seeds)] for _ in SPACES]
            name = f"{sampler}, {capacity} under way"
            yield row(name, runs)
            if sampler == "gaussian":
                stops += [stopping(name, gain, [r for of_space in runs for r in of_space]) for gain in LEAST_GAINS]
            single += [row(f"{name}: {r.name}", [of_space]) for r, of_space in zip(SPACES, runs, strict=True)]
    if "gaussian" in samplers:
        yield "\nStopping where less than such a gain is expected of a trial:\n"
        yield "| search | least gain | runs that stop early | trials | part then | part at the end | most lost |"
        yield "|---|---|---|---|---|---|---|"
        yield from stops
    yield "\nEach space:\n\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads)
    yield from single


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--capacity", default="1,8", help="points under way at once, one or several numbers")
    parser.add_argument("--samplers", default=",".join(name for name in SAMPLERS if name != "exhaustive"))
    parser.add_argument("--kernel-tuner", default=",".join(STRATEGIES), help="its strategies, where it is installed")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation of the logarithm of a time")
    parser.add_argument("--categories", default=CATEGORIES, help="knobs whose integers are names")
    parser.add_argument("--split", default="", help="knobs whose choices become variants")
    parser.add_argument("--spaces", default="", help="only files whose name starts with one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    on_one_thread()
    files = sorted(p for p in options.folder.iterdir() if p.name.removesuffix(".gz").endswith((".csv", ".json")))
    wanted = tuple(options.spaces.split(","))
    files = [path for path in files if path.name.startswith(wanted)]
    SPACES[:] = [read(p, options.categories.split(","), options.split.split(",")) for p in files]
    printed(report(options), options.output, options.folder)


if __name__ == "__main__":
    main()
