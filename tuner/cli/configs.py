"""CONFIG arguments: read, and checked as far as nothing has to run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.errors import ConfigError, TunerError, name_as, named_as
from tuner.screen import pulse

if TYPE_CHECKING:
    from tuner.drafting.drafts import Drafted
    from tuner.settings import Settings
    from tuner.template import Template

OPTIONS = ("device", "devices", "trials", "time_budget_s", "patience", "least_gain", "sampler", "seed", "precision",
           "dtype", "error_budget", "variants", "baselines", "final_budget_s", "problem", "warm")  # fmt: skip
HELPS = {
    "device": "auto, cuda, cuda:N, cpu or cpu:A-B",
    "devices": "share the searches out: all, or such as cuda:0,cuda:1 or cpu:0-3,cpu:4-7",
    "time_budget_s": "seconds a search may take",
    "patience": "stop after that many trials without improvement",
    "least_gain": "stop when less than that part of the time is expected to be saved; 0: never",
    "sampler": "gaussian, tpe, random or exhaustive",
    "precision": "match, ieee or tf32",
    "dtype": "cast inputs and model to it: float16, bfloat16, float32 or float64",
    "variants": "only these, separated by commas",
    "warm": "a T4 file whose best points are measured first",
    "baselines": "of eager, eager_benchmark, compile, compile_benchmark, max_autotune",
}
config_argument = click.argument("config", type=click.Path(path_type=Path))
configs_argument = click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))


class WrongConfigs(TunerError):
    """Several configs were given; `faults` has what is wrong with each that cannot be used."""

    def __init__(self, faults: Sequence[TunerError]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


def override(*keys: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that override these keys of a config."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for key in reversed(keys):
            text = HELPS.get(key, f"overrides {key} of the config")
            command = click.option(f"--{key.replace('_', '-')}", key, help=text)(command)
        return command

    return decorate


def read(path: Path, options: Mapping[str, str | None] | None = None) -> tuple[Settings, Template]:
    """A config and its template, whose variants and knobs are known to be there. Raises ConfigError, TemplateError."""
    from tuner import settings
    from tuner.settings import resolve

    one = settings.load(path, options)
    return one, resolve.checked_template(one)


@dataclass(frozen=True)
class Given:
    """A CONFIG argument: what was typed, the config or folder that it stands for, and the draft where it is one."""

    typed: Path
    config: Path
    draft: Drafted | None = None

    @property
    def plan(self) -> Sequence[str]:
        """The plan of a draft, in lines."""
        return () if self.draft is None else self.draft.plan

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Inside, a fault of a draft's problem names the file that was typed."""
        with contextlib.nullcontext() if self.draft is None else named_as(self._copy(self.draft), self.typed):
            yield

    def name_in(self, fault: TunerError) -> None:
        """Have a fault name the file that was typed, not the draft's copy of it."""
        if self.draft is not None:
            name_as(fault, self._copy(self.draft), self.typed)

    @staticmethod
    def _copy(draft: Drafted) -> Path:
        return draft.folder / "problem.py"


def given(path: Path, say: Callable[[str], None], options: Mapping[str, str | None] | None = None) -> Given:
    """A CONFIG argument; a problem file stands for its draft, which is made where there is none.

    With a dtype among the options, or in its variable, that is the draft of the problem cast to it.

    Raises ConfigError, ProblemError and TemplateError.
    """
    from tuner.problem import static

    if path.suffix != ".py" or path.is_dir():
        if os.path.isfile(path) and static.has_model(path):
            raise ConfigError(f"{path}: is a problem file, whose name has to end in .py; a config is YAML")
        return Given(path, path)
    from tuner import settings
    from tuner.backends import toolchain
    from tuner.drafting import drafts

    if path.is_file():
        for fault in static.faults(path):
            raise ConfigError(fault)
    dtype = settings.given_dtype(options or {})
    with pulse.telling(say) as begin:
        draft = drafts.drafted(path, settings.drafts_folder(path), toolchain.environment(), begin, dtype)
    return Given(path, draft.folder, draft)


def read_all(
    paths: Sequence[Path], options: Mapping[str, str | None], say: Callable[[str], None]
) -> list[tuple[Given, Settings]]:
    """Several configs, each checked. Raises WrongConfigs with every fault."""
    found, faults = [], []
    for path in paths:
        try:
            one = given(path, say, options)
            with one.named():
                found.append((one, read(one.config, options)[0]))
        except TunerError as fault:
            faults.append(fault)
    if faults:
        raise WrongConfigs(faults)
    return found
