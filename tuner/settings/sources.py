"""Where settings come from. Precedence: option > environment (`TUNER_TRIALS`, ...) > YAML > default.

Whatever is wrong becomes one `ConfigError` line that names the place and the key.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuner.errors import ConfigError
from tuner.records import Floating
from tuner.settings import faults, yaml
from tuner.settings.model import Settings
from tuner.settings.project import working_folder

FILES = ("problem", "warm")


def load(path: Path, overrides: Mapping[str, str | None] | None = None) -> Settings:
    """The settings of a config file; those of a template's folder are all default.

    `overrides` are the command line's options by key, as text; None or a missing key is not
    given. An option or variable for a list or mapping is read as YAML; a list may also be
    separated by commas. Paths (`problem`, a `template` with a `/`) come out absolute: those of
    the YAML are relative to the config, those of options and variables to the working folder.

    Raises ConfigError.
    """
    values = {"template": os.path.abspath(path)} if os.path.isfile(path / "template.py") else yaml.read(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: wants a mapping of keys such as `template: NAME`, not {faults.kind(values)}")
    given_by = {str(key): f"{path}: {key}" for key in values}
    in_file = set(given_by)
    for key in Settings.model_fields:
        text, place = _override(key, overrides or {})
        if text is None:
            continue
        values[key] = _parse_override(key, text, place)
        given_by[key] = place
        in_file.discard(key)
    if isinstance(values.get("devices"), str):
        values["devices"] = _words(values["devices"])
    _one_of_device_and_devices(values, given_by, [f"{path}:", "TUNER_", "--"])
    _refuse_misspelt_variables()
    unknown = sorted(set(overrides or {}) - set(Settings.model_fields))
    if unknown:
        raise ConfigError(f"option {unknown[0]}: {faults.unknown_key(unknown[0])}")
    for key in ("template", *FILES):
        value = values.get(key)
        if isinstance(value, str) and (key in FILES or "/" in value or value.startswith(".")):
            if "\0" in value:
                raise ConfigError(f"{given_by[key]}: a path holds no NUL character")
            values[key] = os.path.abspath((path.parent if key in in_file else working_folder()) / value)
    try:
        settings = Settings.model_validate(_tuples(values))
    except ValidationError as error:
        raise ConfigError(faults.line(error, values, path, given_by)) from None
    for key in FILES:
        file = getattr(settings, key)
        if file is not None and not os.path.isfile(file):
            raise ConfigError(f"{given_by[key]}: no such file: {file}")
    return settings.given(path, given_by)


def _override(key: str, overrides: Mapping[str, str | None]) -> tuple[str | None, str]:
    """The text of a key's option, else of its variable, and which of them it is; None where neither is given."""
    option, variable = overrides.get(key), f"TUNER_{key.upper()}"
    if option is not None:
        return option, f"--{key.replace('_', '-')}"
    return os.environ.get(variable) or None, variable


def given_dtype(overrides: Mapping[str, str | None]) -> Floating | None:
    """The dtype that an option or a variable names, for what has no config yet. Raises ConfigError."""
    text, place = _override("dtype", overrides)
    try:
        return Settings.model_validate({"template": "any", "dtype": text}).dtype
    except ValidationError as error:
        raise ConfigError(faults.line(error, {"dtype": text}, Path(place), {"dtype": place})) from None


def changed(settings: Settings, values: Mapping[str, Any], names: Mapping[str, str]) -> Settings:
    """The settings with these values, as Python has them; `names` has what a key is called there, where it is not so.

    Raises ConfigError.
    """
    both = {**settings.model_dump(exclude_unset=True), **values}
    given_by = {key: names.get(key, key) for key in both}
    try:
        return Settings.model_validate(_tuples(both)).given(Path(settings.template), given_by)
    except ValidationError as error:
        raise ConfigError(faults.line(error, both, Path("tune"), given_by)) from None


def _one_of_device_and_devices(values: dict[Any, Any], given_by: dict[str, str], sources: Sequence[str]) -> None:
    """Of `device` and `devices` the one counts that was given last. Raises ConfigError for both in one place."""
    if not {"device", "devices"} <= given_by.keys():
        return

    def rank(key: str) -> int:
        return next(i for i, start in enumerate(sources) if given_by[key].startswith(start))

    if rank("device") == rank("devices"):
        raise ConfigError(f"{given_by['devices']}: is given beside {given_by['device']}; keep one of the two")
    weaker = min(("device", "devices"), key=rank)
    del values[weaker], given_by[weaker]


def _refuse_misspelt_variables() -> None:
    """Raise ConfigError for a TUNER_… variable that nobody reads and that is close to one that is read."""
    known = [*(f"TUNER_{key.upper()}" for key in Settings.model_fields), "TUNER_CACHE_DIR", "TUNER_ACCEPT"]
    for name in sorted(os.environ):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name.startswith("TUNER_") and name not in known and near:
            raise ConfigError(f"{name}: is set, and nothing reads it; did you mean {near[0]}?")


def _parse_override(key: str, text: str, place: str) -> Any:
    """An option's or variable's text: words as they are, everything else as YAML."""
    if key in ("template", *FILES, "device", "dtype", "sampler", "precision"):
        return text
    if key in ("variants", "baselines", "devices") and not text.lstrip().startswith("["):
        return _words(text)
    return yaml.parse(text, place)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _tuples(value: Any) -> Any:
    """Lists as tuples, which is how frozen settings hold them."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
