"""How good is the best point after so many trials? Samplers on synthetic spaces like those of kernels.

    python benchmarks/samplers.py [--seeds 12]

Each space has ten knobs (3.4 million points, a quarter of them rejected by a
constraint); the time of a point is exp(sum of a slope for each knob + random
interactions of a third of the pairs). Printed: the geometric mean over the
seeds of the best time found, in units of the function; lower is better.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
from pathlib import Path

from tuner.records import Correctness, Evaluation, Performance, Status, Trial
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.search.samplers import tpe
from tuner.space import Branch, Constraint, Knob, Point, Space

SIZES = (4, 8, 2, 4, 10, 7, 6, 2, 4, 4)
CATEGORIES = (0, 7)
CHECKPOINTS = (25, 50, 100, 200)


class Forgetful(Ledger):
    """A ledger that keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))

    def append(self, trial: Trial) -> None:
        return None


class Synthetic:
    """A space and its times, both drawn from a seed; measures eight points at a time, as on a GPU."""

    capacity = 8

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.waiting: list[tuple[int, Point]] = []
        self.knobs = tuple(
            Knob(f"k{i}", tuple(f"c{j}" for j in range(n)), "c0")
            if i in CATEGORIES
            else Knob(f"k{i}", tuple(range(n)), n // 2)
            for i, n in enumerate(SIZES)
        )
        self.slopes = [
            [rng.random() * 0.8 for _ in range(n)]
            if i in CATEGORIES
            else [0.15 * abs(j - peak) for peak in [rng.random() * (n - 1)] for j in range(n)]
            for i, n in enumerate(SIZES)
        ]
        pairs = [(a, b) for a in range(len(SIZES)) for b in range(a) if rng.random() < 0.3]
        self.pairs = {
            (a, b): [[rng.gauss(0, 0.12) for _ in range(SIZES[b])] for _ in range(SIZES[a])] for a, b in pairs
        }
        rule = Constraint("fits", lambda k, facts: k.k1 * k.k4 < 50 and (k.k5 + k.k6) % 3 != 2)
        self.space = Space((Branch("only", self.knobs, (rule,)),))

    def time_of(self, point: Point) -> float:
        at = [knob.choices.index(value) for knob, (_, value) in zip(self.knobs, point.values, strict=True)]
        total = sum(self.slopes[i][x] for i, x in enumerate(at))
        return math.exp(total + sum(table[at[a]][at[b]] for (a, b), table in self.pairs.items()))

    def submit(self, number: int, point: Point) -> None:
        self.waiting.append((number, point))

    def next(self) -> tuple[int, str, Evaluation]:
        number, point = self.waiting.pop(0)
        ms = self.time_of(point)
        right = Correctness(cases=(), error_ratio=0.0, agrees_with_eager=True)
        timed = Performance(latency_ms=ms, q25_ms=ms, q75_ms=ms, samples=1)
        return number, "0" * 64, Evaluation(status=Status.OK, correctness=right, performance=timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12)
    seeds = range(parser.parse_args().seeds)
    print("sampler                      " + "".join(f"{n:>8}" for n in CHECKPOINTS))
    never = 10**9
    ways = (("random", "random", never), ("tpe alone", "tpe", never), ("tpe, every 2nd a step", "tpe", 2))
    for name, sampler, every in (*ways, ("tpe, every 3rd a step", "tpe", 3)):
        tpe.CLIMB_EVERY = every
        found: dict[int, list[float]] = {n: [] for n in CHECKPOINTS}
        for seed in seeds:
            synthetic = Synthetic(seed)
            run = Search(synthetic.space, sampler, seed, None, "synthetic", Forgetful())
            times = [t.evaluation.latency_ms for t in run.run(synthetic, Budget(CHECKPOINTS[-1])).trials]
            for n in CHECKPOINTS:
                found[n].append(min(times[:n]))
        print(f"{name:<29}" + "".join(f"{statistics.geometric_mean(found[n]):8.3f}" for n in CHECKPOINTS), flush=True)


if __name__ == "__main__":
    main()
