"""What a trial costs the process that searches: CPU time with a study and a ledger on disk, at 100 and 1,000 trials.

    python benchmarks/proposals.py [--samplers gaussian,tpe] [--capacity 8] [--trials 1000] [-o FILE.md]

Spaces of 10^3 to 10^9 points with two constraints; times come from a formula at once. Counted are the proposal, the
study, the ledger and the sampler's learning, as the process's CPU time from one trial to the next; the mean over the 50
trials up to that number, and the most that one of these took.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from printed import on_one_thread, printed

from tuner.records import Correctness, Evaluation, Performance, Status
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.space import Branch, Constraint, Knob, Point, Space

RIGHT = Correctness(cases=(), error_ratio=0.0, agrees_with_eager=True)
CHOICES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
WINDOW = 50  # trials that a figure is the mean of


def space_of(knobs: int) -> Space:
    """10^knobs points before constraints."""
    names = [f"k{i}" for i in range(knobs)]
    rules = (
        Constraint("a small product", lambda k, f: k.k0 * k.k1 <= 256),
        Constraint("k2 divides or is divided", lambda k, f: k.k2 % k.k1 == 0 or k.k1 % k.k2 == 0),
    )
    return Space((Branch("v", tuple(Knob(name, CHOICES, 4) for name in names), rules),))


class Formula:
    """Answers at once."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.waited_s = capacity, 0.0
        self.waiting: list[tuple[int, Point]] = []

    def submit(self, number: int, point: Point) -> None:
        self.waiting.append((number, point))

    def next(self) -> tuple[int, str, Evaluation]:
        number, point = self.waiting.pop(0)
        ms = 1.0 + sum(abs(math.log2(int(value)) - i % 5) for i, (_, value) in enumerate(point.values))
        timed = Performance(latency_ms=ms, q25_ms=ms, q75_ms=ms, samples=1)
        return number, "0" * 64, Evaluation(status=Status.OK, correctness=RIGHT, performance=timed)


def costs(sampler: str, knobs: int, capacity: int, trials: int) -> list[float]:
    """CPU ms from each trial's end to the next one's."""
    ended: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        search = Search(space_of(knobs), sampler, 0, path / "s.sqlite3", "s", Ledger(path / "s.jsonl"))
        search.run(Formula(capacity), Budget(trials), lambda progress: ended.append(time.process_time() * 1e3))
    return [after - before for before, after in itertools.pairwise(ended)]


def report(options: argparse.Namespace) -> Iterator[str]:
    counts = [count for count in (100, 400, 1000) if count <= options.trials]
    yield f"{options.capacity} under way; ms of CPU a trial, mean (most)\n"
    yield "| sampler | points | " + " | ".join(f"{count} trials" for count in counts) + " |"
    yield "|---" * (2 + len(counts)) + "|"
    for sampler in options.samplers.split(","):
        for knobs in map(int, options.powers.split(",")):
            found = costs(sampler, knobs, options.capacity, options.trials)
            # The last `capacity` trials of all need no proposal.
            windows = [
                found[: count - options.capacity][-WINDOW:] if count <= len(found) + 1 else [] for count in counts
            ]
            cells = [f"{statistics.mean(each):.0f} ({max(each):.0f})" if each else "" for each in windows]
            yield f"| {sampler} | 10^{knobs} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", default="gaussian")
    parser.add_argument("--capacity", type=int, default=8, help="points under way at once")
    parser.add_argument("--powers", default="3,6,9", help="of 10: how many points a space has")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    on_one_thread()
    printed(report(options), options.output)


if __name__ == "__main__":
    main()
