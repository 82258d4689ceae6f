"""`tuner.verify(...)`: the verdict on a file, as `tuner verify` prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tuner import backends
from tuner.api import checks
from tuner.backends import toolchain
from tuner.errors import ConfigError, UnjudgeableError
from tuner.execution import verdict
from tuner.records import FLOATING, Correctness, Floating, Precision
from tuner.screen import pulse
from tuner.settings import resolve

Word = Literal["right", "wrong", "cannot be judged"]


@dataclass(frozen=True, repr=False)
class Verdict:
    """What was found of a file; `correctness` has every case, None where none was judged. True for a right one."""

    word: Word
    reason: str = ""
    correctness: Correctness | None = None

    def __bool__(self) -> bool:
        return self.word == "right"

    def __repr__(self) -> str:
        return ": ".join(filter(None, (self.word, self.reason)))


def verify(
    file: str | Path,
    problem: str | Path,
    shapes: Sequence[Sequence[int]] | None = None,
    init: Sequence[Any] | None = None,
    device: str = "auto",
    precision: Precision = "match",
    error_budget: float = 8.0,
    leaves: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    dtype: Floating | None = None,
) -> Verdict:
    """Judge whether the ModelNew of `file` computes what the Model of `problem` does.

    `shapes` has one for each input; they and `init`, the constructor's arguments, are the problem's own where they are
    left out. `leaves` are operators that the file may leave to PyTorch. `say` is told what goes on; by default stderr
    is. With `dtype` floating-point inputs are of it, and both models are cast to it. Raises TunerError for what the
    user can mend.
    """
    file, problem = checks.path("file", file), checks.path("problem", problem)
    given = None if shapes is None else checks.shapes("shapes", shapes)
    if init is not None:
        checks.values("init", init)
    checks.require(isinstance(device, str), "device", "a name such as cpu or cuda:0", device)
    checks.positive("error_budget", error_budget)
    checks.values("leaves", leaves, "a list of operators' names")
    checks.require(all(isinstance(name, str) for name in leaves), "leaves", "a list of operators' names", leaves)
    if say is not None:
        checks.function("say", say)
    verdict.require_file(file)
    if precision not in get_args(Precision):
        raise ConfigError(f"precision: {precision!r} is not one of {', '.join(get_args(Precision))}")
    if dtype not in (None, *FLOATING):
        raise ConfigError(f"dtype: {dtype!r} is not one of {', '.join(FLOATING)}")
    workload = resolve.stated_workload(problem, given, init, precision, toolchain.environment(), dtype)
    where = backends.resolve(device)
    try:
        with pulse.telling(say or _to_stderr) as begin:
            found = verdict.verify(
                file, problem, workload, where, error_budget, begin, mutants=True, leaves=tuple(leaves)
            )
    except UnjudgeableError as fault:
        return Verdict("cannot be judged", str(fault))
    except verdict.WrongFile as fault:
        return Verdict("wrong", str(fault))
    return Verdict("wrong", found.fault, found) if found.fault else Verdict("right", "", found)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
