"""Kernel Tuner's strategies on a recorded space, in its simulation mode; needs `pip install kernel_tuner`."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recorded import Recorded

PREFIX = "kernel_tuner:"  # of a strategy's name among the samplers

STRATEGIES = (
    "random_sample", "genetic_algorithm", "greedy_ils", "mls", "diff_evo", "pso", "firefly_algorithm",
    "simulated_annealing", "dual_annealing", "basinhopping",
)  # fmt: skip


def ordered(recorded: Recorded, strategy: str, seed: int, trials: int) -> tuple[list[float], float]:
    """The times of a search's different points in the order measured (ms, infinite where one failed), CPU ms a trial.

    Each is one of `trials`; what a strategy asks for twice costs nothing. Raises ValueError for a space with variants.
    """
    import kernel_tuner

    (branch,) = recorded.space.branches
    valid = {tuple(int(v) if isinstance(v, bool) else v for _, v in point.values) for point in recorded.times}
    names = [knob.name for knob in branch.knobs]
    parameters = {k.name: [int(c) if isinstance(c, bool) else c for c in k.choices] for k in branch.knobs}

    def is_recorded(chosen: Mapping[str, Any]) -> bool:  # a lambda's source would be parsed
        return tuple(chosen[name] for name in names) in valid

    started = time.process_time()
    # Strategies warn of points outside of the space, which they then leave out, and print what they find.
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        warnings.simplefilter("ignore")
        results, _ = kernel_tuner.tune_kernel(
            "kernel",
            "",
            1,
            [],
            parameters,
            restrictions=is_recorded,
            lang="C",
            strategy=strategy,
            strategy_options={"max_fevals": trials},
            cache=str(_cache_file(recorded)),
            simulation_mode=True,
            seed=seed,
            quiet=True,
        )
    took = (time.process_time() - started) * 1e3
    found: dict[tuple[Any, ...], float] = {}
    for result in results:
        ms = result["time"]
        found.setdefault(tuple(result[n] for n in names), ms if isinstance(ms, float) and ms < 1e20 else math.inf)
    times = list(found.values())[:trials]
    return times, took / max(1, len(times))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def _cache_file(recorded: Recorded) -> Path:
    """The space as one of Kernel Tuner's own cache files, written once a process."""
    path = Path(_folder().name) / f"{recorded.name}.json"
    if not path.exists():
        knobs = recorded.space.branches[0].knobs
        entries = {}
        for point, ms in recorded.times.items():
            entry: dict[str, Any] = {n: int(v) if isinstance(v, bool) else v for n, v in point.values}
            entry["time"] = ms if ms < math.inf else "RuntimeFailedConfig"
            entry |= dict.fromkeys(("compile_time", "verification_time", "benchmark_time"), 0)
            entries[",".join(str(entry[knob.name]) for knob in knobs)] = entry
        head: dict[str, Any] = {"device_name": "recorded", "kernel_name": "kernel", "problem_size": 1}
        tuned = {k.name: [int(c) if isinstance(c, bool) else c for c in k.choices] for k in knobs}
        head |= {"tune_params_keys": list(tuned), "tune_params": tuned, "objective": "time", "cache": entries}
        path.write_text(json.dumps(head))
    return path
