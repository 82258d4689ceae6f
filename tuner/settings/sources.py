"""Settings of a search: YAML -> `Settings`, and where the project and its cache lie.

Precedence: option > environment (`TUNER_TRIALS`, `TUNER_DEVICE`, ...) > YAML > default.
Whatever is wrong becomes one `ConfigError` line that names the place and the key.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from tuner.errors import ConfigError, TunerError
from tuner.records import Precision
from tuner.space import Choice

MAX_BYTES = 1_000_000
MAX_DEPTH = 16
SCHEMA_FILE = "schema.json"

Size = Annotated[int, Field(ge=1)]
Shape = Annotated[tuple[Size, ...], Field(min_length=1)]
Inputs = Annotated[tuple[Shape, ...], Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
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
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$", description="auto, cuda, cuda:N or cpu")] = (
        "auto"
    )
    init: Annotated[
        tuple[Any, ...] | None, Field(description="the model's constructor arguments; default: the problem's")
    ] = None
    shapes: Annotated[
        tuple[Shape | Inputs, ...] | None,
        Field(
            min_length=1,
            description="input shapes, one search each: a list of sizes, or one such list for each input; "
            "default: the problem's",
        ),
    ] = None
    dtype: Literal["float32"] = "float32"
    trials: Annotated[int, Field(ge=1, description="trials of a search")] = 200
    time_budget_s: Annotated[Seconds | None, Field(description="stop a search after that long")] = None
    patience: Annotated[int | None, Field(ge=1, description="stop after that many trials without improvement")] = None
    sampler: Literal["tpe", "random", "exhaustive"] = "tpe"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Annotated[
        Precision, Field(description="the reference's own precision (match), fp32 throughout (ieee), or TF32 allowed")
    ] = "match"
    error_budget: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="error allowed, in multiples of the reference's own")
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

    _path: str = PrivateAttr("")
    _given_by: dict[str, str] = PrivateAttr(default_factory=dict)

    def place(self, key: str) -> str:
        """Where `key` was given: "FILE: key", a variable or an option; for a default, the file."""
        return self._given_by.get(key, self._path)

    @contextlib.contextmanager
    def blame(self, key: str) -> Iterator[None]:
        """A fault raised inside, of whatever kind, becomes a ConfigError that begins with the place of `key`."""
        try:
            yield
        except TunerError as fault:
            if not self.place(key):
                raise
            raise ConfigError(f"{self.place(key)}: {str(fault).removeprefix(f'{key}: ')}") from fault

    @property
    def input_shapes(self) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
        """For each search the shapes of all inputs, whichever way `shapes` was written."""
        if self.shapes is None:
            return None
        return tuple((shape,) if isinstance(shape[0], int) else shape for shape in self.shapes)


def load(path: Path, overrides: Mapping[str, str | None] | None = None) -> Settings:
    """The settings of a config file.

    `overrides` are the command line's options by key, as text; None or a missing key is not
    given. An option or variable for a list or mapping is read as YAML; a list may also be
    separated by commas. Paths (`problem`, a `template` with a `/`) come out absolute: those of
    the YAML are relative to the config, those of options and variables to the working folder.

    Raises ConfigError.
    """
    values = _read(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: wants a mapping of keys such as `template: NAME`, not {_kind(values)}")
    given_by = {str(key): f"{path}: {key}" for key in values}
    bases = {key: path.parent for key in given_by}
    for key in Settings.model_fields:
        variable = f"TUNER_{key.upper()}"
        option = (overrides or {}).get(key)
        flag = f"--{key.replace('_', '-')}"
        text, place = (option, flag) if option is not None else (os.environ.get(variable), variable)
        if text is None or (option is None and text == ""):
            continue
        values[key] = _parse_override(key, text, place)
        given_by[key], bases[key] = place, Path.cwd()
    _refuse_misspelt_variables()
    unknown = sorted(set(overrides or {}) - set(Settings.model_fields))
    if unknown:
        raise ConfigError(f"option {unknown[0]}: {_unknown_key(unknown[0])}")
    for key in ("template", "problem"):
        value = values.get(key)
        if isinstance(value, str) and (key == "problem" or "/" in value or value.startswith(".")):
            if "\0" in value:
                raise ConfigError(f"{given_by[key]}: a path holds no NUL character")
            values[key] = os.path.abspath(bases[key] / value)
    try:
        settings = Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise ConfigError(_first_fault(error, values, path, given_by)) from None
    if settings.problem is not None and not os.path.isfile(settings.problem):
        raise ConfigError(f"{given_by['problem']}: no such file: {settings.problem}")
    settings._path, settings._given_by = str(path), given_by
    return settings


def _refuse_misspelt_variables() -> None:
    """Raise ConfigError for a TUNER_… variable that nobody reads and that is close to one that is read."""
    known = [*(f"TUNER_{key.upper()}" for key in Settings.model_fields), "TUNER_CACHE_DIR", "TUNER_ACCEPT"]
    for name in sorted(os.environ):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name.startswith("TUNER_") and name not in known and near:
            raise ConfigError(f"{name}: is set, and nothing reads it; did you mean {near[0]}?")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config, as published in configs/schema.json."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "tuner search config"}


def json_schema_text() -> str:
    """The exact content of configs/schema.json."""
    return json.dumps(json_schema(), indent=2) + "\n"


def project_root(start: Path) -> Path | None:
    """The nearest folder at or above `start` with a pyproject.toml, .git or kernel_templates/.

    What an installed wheel carries is nobody's project.
    """
    start = start.resolve()
    if start.is_relative_to(Path(__file__).resolve().parent.parent):
        return None
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in ("pyproject.toml", ".git", "kernel_templates")):
            return folder
    return None


def cache_root(start: Path) -> Path:
    """Where winners go: $TUNER_CACHE_DIR, else cache/ of the project around `start`, else the user's cache."""
    if os.environ.get("TUNER_CACHE_DIR"):
        return Path(os.environ["TUNER_CACHE_DIR"]).absolute()
    root = project_root(start)
    if root is not None:
        return root / "cache"
    # The XDG specification: a relative value is to be ignored.
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "tuner" / "cache"


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, and none of YAML's surprises.

    Only true and false are booleans (`no` is a word), 1e-3 is a number, 010 and 1:30 are not.
    Tags, aliases, duplicate keys and deep nesting are refused.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not taken here", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags are not taken here: {event.tag}", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise _refused("nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _refused("a key is a plain word", key.start_mark)
            if key.value in seen:
                raise _refused(f"key {key.value!r} is there twice; keep one", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)

    def construct_decimal(self, node: Any) -> int:
        return int(node.value)


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.inf|\.nan", "-+."),
    ("null", r"~|null|", ["~", "n", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_decimal)


def _read(path: Path) -> Any:
    """The file's YAML value. Raises ConfigError for whatever is not one small UTF-8 YAML document."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: is not a file; name a YAML config")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes; a config is a page of YAML")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    value = _parse(text, str(path))
    if value is None:
        raise ConfigError(f"{path}: is empty; it wants at least `template: NAME`")
    return value


def _parse(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise ConfigError(f"{place}: {line}{error.problem or 'is not YAML'}") from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "malformed")
        raise ConfigError(f"{place}: is not YAML: {reason}") from None


def _parse_override(key: str, text: str, place: str) -> Any:
    """An option's or variable's text: words as they are, everything else as YAML."""
    if key in ("template", "problem", "device", "dtype", "sampler", "precision"):
        return text
    if key in ("variants", "baselines") and not text.lstrip().startswith("["):
        return [word.strip() for word in text.split(",") if word.strip()]
    return _parse(text, place)


def _tuples(value: Any) -> Any:
    """Lists as tuples, which is how frozen settings hold them."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _first_fault(error: ValidationError, values: dict[str, Any], path: Path, given_by: dict[str, str]) -> str:
    """pydantic's first complaint as one line: where, what would be right, what was found."""
    fault = error.errors(include_url=False)[0]
    key = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"{path}: {_unknown_key(key)}"
    if fault["type"] == "missing":
        return f"{path}: {key}: is missing; it wants at least `template: NAME`"
    # The location also names members of a union; only what leads into the value is of use.
    found: Any = values[key]
    steps: list[str] = []
    for step in fault["loc"][1:]:
        inside: Any = found if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else ()
        if step in inside:
            found = found[step]
            steps.append(str(step))
    wants = re.sub(r"^.*?\bshould ", "", fault["msg"])
    wants = wants.replace("valid tuple", "list").replace("valid dictionary", "mapping")
    if fault["type"] == "too_short":
        wants = f"be a list of at least one {key.rstrip('s')}"
    if key == "device":
        wants = "be auto, cuda, cuda:N or cpu"
    elif key == "shapes":
        wants = "be a list of shapes: each a list of sizes of at least 1, or one such list for each input"
    elif key == "knobs" and steps:
        wants = "be a list of integers, booleans or words to choose from" if len(steps) == 1 else "be int, bool or word"
    where = ".".join([given_by[key], *steps])
    return f"{where}: should {wants}, not {_shown(found)}"


def _unknown_key(key: str) -> str:
    names = list(Settings.model_fields)
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(names)}"
    return f"unknown key {key[:60]!r}; {hint}"


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else _shown(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
