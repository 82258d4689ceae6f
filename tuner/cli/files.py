"""tuner export and tuner verify: single files, written and judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from pydantic import TypeAdapter

from tuner.cli.configs import config_argument, given, override
from tuner.cli.output import json_option, print_json, say
from tuner.errors import ConfigError
from tuner.records import FLOATING
from tuner.screen import pulse

FORMATS = ("kernelbench", "module", "kernels", "flashinfer", "gpumode", "source")  # the test compares with winners'
EXIT_CODES = {"right": 0, "wrong": 1, "cannot be judged": 3}


@click.command()
@config_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="the file (or folder) to write")
@click.option("--format", "form", type=click.Choice(FORMATS), default="kernelbench", help="what it is written as")
@override("device", "precision", "dtype")
@click.option("--force", is_flag=True, help="write it even when it is no faster than eager")
@click.option("--backward", type=click.Choice(["reference"]), help="a file that trains: gradients are the reference's")
@json_option
def export(
    config: Path,
    output: Path,
    device: str | None,
    precision: str | None,
    dtype: str | None,
    force: bool,
    backward: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Write the winners of CONFIG as one file that needs only PyTorch, or in another format, verified as it is used."""
    from tuner import settings
    from tuner.export import winners

    options = {"device": device, "precision": precision, "dtype": dtype}
    asked = given(config, say(as_json), options)
    one = settings.load(asked.config, options)
    cache = settings.cache_root(asked.config, one.template)
    with asked.named(), pulse.telling(say(as_json)) as begin:
        written = winners.export_winners(one, cache, output, force, begin, backward is not None, form)
    if as_json:
        print_json({"submission": str(output), "records": [r.model_dump(mode="json") for r in written]})
    else:
        click.echo(f"wrote {output}" + (f" and {output.with_suffix('.md')}" if form == "kernelbench" else ""))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--problem", required=True, type=click.Path(path_type=Path), help="the reference in KernelBench format")
@click.option("--shape", "shapes", multiple=True, help="input shape such as 128x3x32x32x32 (one for each input)")
@click.option("--init", help="constructor arguments as JSON, such as '[3, 24, 3, 8]'")
@click.option("--device", default="auto", help="auto, cuda, cuda:N or cpu")
@click.option("--precision", default="match", type=click.Choice(["match", "ieee", "tf32"]))
@click.option("--dtype", type=click.Choice(FLOATING), help="cast floating-point inputs and both models to it")
@click.option("--error-budget", default=8.0, type=click.FloatRange(min=0, min_open=True, max=1e6))
@click.option("--leaves", help="operators that FILE may leave to PyTorch, separated by commas, such as gelu,sum")
@json_option
def verify(
    file: Path,
    problem: Path,
    shapes: tuple[str, ...],
    init: str | None,
    device: str,
    precision: Any,
    dtype: Any,
    error_budget: float,
    leaves: str | None,
    as_json: bool,
) -> None:
    """Judge whether FILE's ModelNew computes what PROBLEM's Model does.

    Exit code 0: right; 1: wrong; 3: the problem cannot be judged.
    """
    from tuner import api
    from tuner.screen import tables

    left = _leaves(leaves)
    found = api.verify(
        file, problem, _shapes(shapes), _init(init), device, precision, error_budget, left, say(as_json), dtype
    )
    correctness = found.correctness
    if as_json:
        cases = correctness.model_dump(mode="json") if correctness else {}
        reason = "" if correctness else found.reason
        print_json({"verdict": found.word, "ok": bool(found), "reason": reason, "leaves": left, **cases})
    else:
        if correctness:
            tables.console().print(tables.cases(correctness))
        click.echo(": ".join(filter(None, (found.word if found else found.word.upper(), found.reason))))
    sys.exit(EXIT_CODES[found.word])


def _shapes(texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...] | None:
    """The shapes that were given, held to what a config's are; None for none."""
    from tuner.settings.model import Inputs

    if not texts:
        return None
    try:
        given = tuple(tuple(int(size) for size in text.replace("x", ",").split(",")) for text in texts)
        return TypeAdapter[tuple[tuple[int, ...], ...]](Inputs).validate_python(given)
    except ValueError:  # pydantic's, too
        raise ConfigError(f"--shape: {' '.join(texts)[:60]!r} is not a shape such as 128x3x32x32x32") from None


def _leaves(text: str | None) -> tuple[str, ...]:
    """The operators that may be left to PyTorch, none where none were given."""
    from tuner.template.operators import operators_fault

    names = tuple(name.strip() for name in text.split(",")) if text is not None else ()
    fault = operators_fault(names)
    if fault:
        raise ConfigError(f"--leaves: {fault}")
    return names


def _init(text: str | None) -> list[Any] | None:
    """The constructor's arguments, all finite as JSON has it; None where none were given."""
    if text is None:
        return None

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ConfigError(f"--init: {text[:60]!r} is not a JSON list such as '[3, 24, 3, 8]'")
    return value
