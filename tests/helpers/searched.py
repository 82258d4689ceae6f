"""A search on disk that was made without a device: ledger, outline, final and, if wanted, a winner."""

from __future__ import annotations

import time
from pathlib import Path

from helpers.searching import ONE, bowl
from helpers.tiny import HERE
from tuner.records import Evaluation, Floor, Performance, Span, Status, TensorSpec, Trial, Workload
from tuner.search.ledger import Ledger
from tuner.search.outline import FinalOutline, Outline, Reading, branches_of, final_path, outline_path, write
from tuner.space import Point, Space

WORKLOAD = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))
BEGAN = 1_790_000_000.0
BROKEN = Evaluation(status=Status.COMPILE, detail="error: no", compile_s=0.5)
WRONG = Evaluation(status=Status.VERIFY, detail="case A: off by 1")


def evaluation(point: Point, number: int) -> Evaluation:
    """What became of a point: some do not compile, some are wrong, the rest take what `bowl` says."""
    made = bowl(point) if number % 7 else (BROKEN if number % 2 else WRONG)
    at = BEGAN + 2.0 * number
    spans = [Span(phase="compile", began=at, seconds=0.5), Span(phase="verify", began=at + 0.5, seconds=0.25)]
    if made.status is Status.OK:
        spans.append(Span(phase="benchmark", began=at + 0.75, seconds=1.0))
    return made.with_spans(spans)


def write_search(root: Path, trials: int = 40, name: str = "tiny-0123", space: Space = ONE, final: bool = True) -> Path:
    """Its ledger's path; `root` is a cache."""
    path = root / ".runs" / f"{name}.jsonl"
    ledger = Ledger(path)
    points = [point for _, point in zip(range(trials), space.points(), strict=False)]
    for number, point in enumerate(points):
        finished = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(BEGAN + 2.0 * number + 1.75))
        ledger.append(
            Trial(
                number=number, point=point, candidate_sha256=f"{number:064d}",
                evaluation=evaluation(point, number), finished=finished,
            )
        )  # fmt: skip
    outline = Outline(
        template="tiny", workload=WORKLOAD, environment=HERE, error_budget=8.0, sampler="random", seed=0, trials=trials,
        time_budget_s=None, patience=None, branches=branches_of(space), started=(BEGAN,),
        floor=Floor(bytes=256, flops=32, memory_ms=0.5, compute_ms=0.1, ceilings={"read_gbps": 10.0, "f32_tflops": 1}),
        eager=Performance(latency_ms=9.0, q25_ms=8.5, q75_ms=9.5, samples=3),
    )  # fmt: skip
    write(outline_path(path), outline)
    if final:
        write(final_path(path), final_of(ledger.read()))
    return path


def final_of(trials: list[Trial]) -> FinalOutline:
    """The two best and eager, ten samples each, on a device that tells its clocks."""
    first, second = sorted(trials, key=lambda trial: trial.evaluation.latency_ms)[:2]
    spread = [0.01 * (i % 5) for i in range(10)]
    names = {str(first.point): 1.0, str(second.point): 1.3, "eager": 9.0}
    return FinalOutline(
        winner=str(first.point),
        points={str(each.point): each.point for each in (first, second)},
        times_ms={name: tuple(ms + more for more in spread) for name, ms in names.items()},
        rounds=(5, 5),
        readings=tuple(
            Reading(at_s=i, sm_mhz=1980.0 - i, memory_mhz=3201.0, power_w=400.0 + i, temperature_c=40.0, throttling=())
            for i in range(5)
        ),
    )
