"""What a config may hold, and the schema that says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.configs import CONFIGS, WriteConfig
from pydantic import ValidationError

from tuner import settings
from tuner.errors import ConfigError


def test_the_defaults(config: WriteConfig) -> None:
    found = settings.load(config("template: gn_mean"))
    assert (found.trials, found.device, found.sampler, found.precision, found.error_budget) == (
        200,
        "auto",
        "gaussian",
        "match",
        8.0,
    )
    assert found.baselines == ("eager", "compile")
    assert found.input_shapes is None


def test_settings_are_frozen(config: WriteConfig) -> None:
    with pytest.raises(ValidationError):
        settings.load(config("template: gn_mean")).trials = 3


def test_every_key_is_read(config: WriteConfig) -> None:
    text = """
template: gn_mean
device: cuda:1
init: [3, [1, 8], false]
shapes: [[1, 2], [3, 4]]
trials: 7
time_budget_s: 1e1
patience: 3
sampler: random
seed: 5
precision: ieee
error_budget: 2
variants: [fused]
knobs: {block_size: [64, 128], reduction: [shuffle], fast: [true]}
baselines: []
compile_timeout_s: 1.5
run_timeout_s: 2
final_budget_s: 3
"""
    found = settings.load(config(text))
    assert found.init == (3, (1, 8), False)
    assert found.input_shapes == (((1, 2),), ((3, 4),))
    assert (found.time_budget_s, found.error_budget, found.device) == (10.0, 2.0, "cuda:1")
    assert found.knobs == {"block_size": (64, 128), "reduction": ("shuffle",), "fast": (True,)}
    assert type(found.knobs["fast"][0]) is bool


def test_a_shape_may_list_several_inputs(config: WriteConfig) -> None:
    assert settings.load(config("template: t\nshapes: [[[1, 2], [3]]]")).input_shapes == (((1, 2), (3,)),)


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert (CONFIGS / settings.SCHEMA_FILE).read_text() == settings.json_schema_text(), (
        "write it again: python -c 'from tuner.settings import json_schema_text as t; print(t(), end=\"\")' "
        "> configs/schema.json"
    )


def test_the_schema_knows_every_key_and_no_other() -> None:
    schema = settings.json_schema()
    assert set(schema["properties"]) == set(settings.Settings.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["template"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_valid_and_points_editors_to_the_schema(path: Path) -> None:
    settings.load(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("given_by", ["yaml", "variable", "option"])
def test_a_fault_is_blamed_on_the_place_where_its_key_was_given(
    config: WriteConfig, monkeypatch: pytest.MonkeyPatch, given_by: str
) -> None:
    path = config("template: gn_mean\n" + ("device: cpu\n" if given_by == "yaml" else ""))
    if given_by == "variable":
        monkeypatch.setenv("TUNER_DEVICE", "cpu")
    one = settings.load(path, {"device": "cpu"} if given_by == "option" else {})
    with pytest.raises(ConfigError) as caught, one.blame("device"):
        raise ConfigError("device: is not there")
    place = {"yaml": f"{path}: device", "variable": "TUNER_DEVICE", "option": "--device"}[given_by]
    assert str(caught.value) == f"{place}: is not there"
