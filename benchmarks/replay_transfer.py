"""What a search elsewhere saves: trials until within 3 % of the best, cold and warm, on recorded spaces.

    python benchmarks/replay_transfer.py FOLDER [--seeds 15] [--pairs FROM:TO,…] [-o FILE.md]

A warm search has the winner of a search of 200 trials on the other space as a start and that search's trials as its
model's mean, as `tuner search` has those in its cache. Formats and options: replay.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from printed import on_one_thread, printed
from recorded import Recorded, read
from replay import CATEGORIES, CHECKPOINTS, Forgetful, Replay, parts_of

from tuner.records import Trial
from tuner.search.loop import Search
from tuner.search.progress import Budget

WITHIN = 0.97
PAIRS = (
    "pnpoly_RTX_3090:pnpoly_RTX_Titan,pnpoly_RTX_Titan:pnpoly_RTX_3090,"
    "convmilo_A100:convmilo_MI250X,convmilo_MI250X:convmilo_A100"
)
WAYS = ("cold", "winner alone", "trials alone", "warm")


@dataclass(frozen=True)
class Task:
    elsewhere: str
    here: str
    way: str
    seed: int
    capacity: int


SPACES: dict[str, Recorded] = {}


def searched(recorded: Recorded, task: Task, seed: int, winner: list[Trial], related: list[list[Trial]]) -> list[Trial]:
    hints = [trial.point for trial in winner]
    search = Search(recorded.space, "gaussian", seed, None, "replay", Forgetful(), hints, related)
    return search.run(Replay(recorded, task.capacity, 0.0, seed), Budget(CHECKPOINTS[-1])).trials


def run(task: Task) -> list[float]:
    """The part of the optimum after each trial."""
    winner: list[Trial] = []
    related: list[list[Trial]] = []
    if task.way != "cold":
        trials = searched(SPACES[task.elsewhere], task, 1000 + task.seed, [], [])
        if task.way != "trials alone":
            winner = [min(trials, key=lambda trial: trial.evaluation.latency_ms)]
        if task.way != "winner alone":
            related = [trials]
    return parts_of(SPACES[task.here], searched(SPACES[task.here], task, task.seed, winner, related))


def row(task: Task, runs: list[list[float]]) -> str:
    until = [next((n for n, part in enumerate(parts, 1) if part >= WITHIN), CHECKPOINTS[-1] + 1) for parts in runs]
    low, high = np.quantile(until, [0.25, 0.75])
    median = statistics.median(until)
    parts = [f"{statistics.mean(parts[count - 1] for parts in runs):.3f}" for count in CHECKPOINTS]
    name = f"{task.elsewhere} → {task.here}, {task.capacity} under way, {task.way}"
    return f"| {name} | {_trials(median)} [{_trials(low)}, {_trials(high)}] | " + " | ".join(parts) + " |"


def _trials(count: float) -> str:
    return f"{count:.0f}" if count <= CHECKPOINTS[-1] else f"> {CHECKPOINTS[-1]}"


def report(options: argparse.Namespace) -> Iterator[str]:
    heads = ["search", "trials until within 3 % [quartiles]", *(f"part at {count}" for count in CHECKPOINTS)]
    yield "| " + " | ".join(heads) + " |\n|" + "---|" * len(heads)
    pairs = [pair.split(":") for pair in options.pairs.split(",")]
    groups = [
        [Task(one, other, way, seed, capacity) for seed in range(options.seeds)]
        for capacity in map(int, options.capacity.split(","))
        for one, other in pairs
        for way in options.ways.split(",")
    ]
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        results = pool.imap(run, [task for group in groups for task in group], chunksize=1)
        for group in groups:
            yield row(group[0], [next(results) for _ in group])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--capacity", default="8", help="points under way at once, one or several numbers")
    parser.add_argument("--pairs", default=PAIRS, help="FROM:TO, names of files without endings")
    parser.add_argument("--ways", default=",".join(WAYS), help="what is known at the start")
    parser.add_argument("--categories", default=CATEGORIES, help="knobs whose integers are names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    on_one_thread()
    wanted = {name for pair in options.pairs.split(",") for name in pair.split(":")}
    for path in sorted(options.folder.iterdir()):
        if path.name.split(".")[0] in wanted:
            SPACES[path.name.split(".")[0]] = read(path, options.categories.split(","))
    if missing := wanted - SPACES.keys():
        parser.error(f"{options.folder} has no {', '.join(sorted(missing))}")
    printed(report(options), options.output, options.folder)


if __name__ == "__main__":
    main()
