"""The model of a config: its keys, what each may hold, and who gave it."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, WithJsonSchema
from pydantic_core import PydanticCustomError

from tuner.errors import ConfigError, TunerError
from tuner.records import Floating, Precision
from tuner.space import Choice

SCHEMA_FILE = "schema.json"
MAX_ELEMENTS = 2**40  # of one input: 4 TiB in float32, more than any device holds
MAX_SECONDS = 1e6  # what waiting for a process can take as its deadline
MAX_ERROR_BUDGET = 1e6
DEVICE = "auto, cuda, cuda:N, cpu or cpu:A-B (the cores A to B)"
ONE_OF_DEVICES = r"^(all|cpu(:[0-9]+-[0-9]+)?|cuda:[0-9]+)$"
DEVICES = {
    "anyOf": [{"type": "array", "items": {"type": "string", "pattern": ONE_OF_DEVICES}}, {"type": "string"}],
    "description": "devices that share the searches out, in the place of `device`: all, or a list of cuda:N or cpu:A-B",
}


def _possible(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > MAX_ELEMENTS:
        raise PydanticCustomError("too_large", f"Input should hold at most {MAX_ELEMENTS} numbers")
    return shape


def _finite(value: Any) -> Any:
    """Raise unless every number in constructor arguments is finite: JSON, in which they are kept, has no other."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("not_finite", "Input should hold finite numbers")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        _finite(inner)
    return value


Size = Annotated[int, Field(ge=1, le=MAX_ELEMENTS)]
Shape = Annotated[tuple[Size, ...], Field(min_length=1), AfterValidator(_possible)]
Inputs = Annotated[tuple[Shape, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
Baseline = Literal["eager", "eager_benchmark", "compile", "compile_benchmark", "max_autotune"]


class Settings(BaseModel):
    """One search, or one for each of `shapes`. Keys left out take the values below."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    template: Annotated[
        str, Field(min_length=1, description="a shipped template's name, or the path of a template folder (with a /)")
    ]
    problem: Annotated[
        Path | None,
        Field(strict=False, description="the reference, in the KernelBench format; default: the template's own"),
    ] = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu(:[0-9]+-[0-9]+)?|cuda(:[0-9]+)?)$", description=DEVICE)] = "auto"
    devices: Annotated[
        tuple[Annotated[str, Field(pattern=ONE_OF_DEVICES)], ...] | None,
        Field(min_length=1),
        WithJsonSchema(DEVICES),
    ] = None
    init: Annotated[
        tuple[Any, ...] | None,
        AfterValidator(_finite),
        Field(description="the model's constructor arguments; default: the problem's"),
    ] = None
    shapes: Annotated[
        tuple[Shape | Inputs, ...] | None,
        Field(
            min_length=1,
            description="input shapes, one search each: a list of sizes, or one such list for each input; "
            "default: the problem's",
        ),
    ] = None
    dtype: Annotated[
        Floating | None,
        Field(description="of floating-point inputs, parameters and buffers; default: the problem's own"),
    ] = None
    trials: Annotated[int, Field(ge=1, description="trials of a search")] = 200
    time_budget_s: Annotated[Seconds | None, Field(description="stop a search after that long")] = None
    patience: Annotated[int | None, Field(ge=1, description="stop after that many trials without improvement")] = None
    least_gain: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            allow_inf_nan=False,
            description="stop when a trial is expected to save less than that part of the best time (sampler: "
            "gaussian); 0 never stops",
        ),
    ] = 0.0001
    sampler: Literal["gaussian", "tpe", "random", "exhaustive"] = "gaussian"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Annotated[
        Precision, Field(description="the reference's own precision (match), fp32 throughout (ieee), or TF32 allowed")
    ] = "match"
    warm: Annotated[
        Path | None,
        Field(strict=False, description="a T4 file (Kernel Tuner's results): its best points are measured first"),
    ] = None
    error_budget: Annotated[
        float,
        Field(
            gt=0,
            le=MAX_ERROR_BUDGET,
            allow_inf_nan=False,
            description="error allowed, in multiples of the reference's own",
        ),
    ] = 8.0
    variants: Annotated[
        tuple[str, ...] | None, Field(min_length=1, description="search only these of the template's variants")
    ] = None
    knobs: Annotated[
        dict[str, Annotated[tuple[Choice, ...], Field(min_length=1)]],
        Field(description="narrow a knob to these choices"),
    ] = {}
    baselines: tuple[Baseline, ...] = ("eager", "compile")
    compile_timeout_s: Annotated[Seconds, Field(description="one kernel's compilation")] = 120.0
    run_timeout_s: Annotated[Seconds, Field(description="one trial's verification and timing")] = 60.0
    final_budget_s: Annotated[Seconds, Field(description="the time that the final may take")] = 60.0

    _file: str = PrivateAttr("")
    _given_by: dict[str, str] = PrivateAttr(default_factory=dict)

    def given(self, file: Path, by: Mapping[str, str]) -> Self:
        """Remember the config's file and the place where each key was given; returns itself."""
        self._file, self._given_by = str(file), dict(by)
        return self

    @property
    def folder(self) -> Path:
        """The config's own, around which its project lies."""
        return Path(self._file).absolute().parent

    def place(self, key: str) -> str:
        """Where `key` was given: "FILE: key", a variable or an option; for a default, the file."""
        return self._given_by.get(key, self._file)

    @contextlib.contextmanager
    def blame(self, key: str) -> Iterator[None]:
        """A fault raised inside, of whatever kind, becomes a ConfigError that begins with the place of `key`."""
        try:
            yield
        except TunerError as fault:
            if not self.place(key):
                raise
            text = str(fault).removeprefix(f"{key}: ")
            inside = text.startswith(f"{key}.")  # "knobs.unroll: ..."
            raise ConfigError(self.place(key) + (text.removeprefix(key) if inside else f": {text}")) from fault

    @property
    def input_shapes(self) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
        """For each search the shapes of all inputs, whichever way `shapes` was written."""
        if self.shapes is None:
            return None
        return tuple((shape,) if isinstance(shape[0], int) else shape for shape in self.shapes)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config, as published in configs/schema.json."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "tuner search config"}


def json_schema_text() -> str:
    """The exact content of configs/schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"
