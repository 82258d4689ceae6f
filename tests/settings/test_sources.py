"""What wins over what: option, environment, YAML, default."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.configs import WriteConfig, fault

from tuner import settings
from tuner.errors import ConfigError
from tuner.settings import Settings, changed


def test_option_goes_over_environment_over_yaml_over_default(
    config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config("template: t\ntrials: 1\nseed: 1\nsampler: random")
    monkeypatch.setenv("TUNER_TRIALS", "2")
    monkeypatch.setenv("TUNER_SEED", "2")
    found = settings.load(path, {"trials": "3", "device": None})
    assert (found.trials, found.seed, found.sampler, found.device) == (3, 2, "random", "auto")


def test_an_empty_variable_is_not_set(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TRIALS", "")
    assert settings.load(config("template: t")).trials == 200


def test_options_of_lists_are_yaml_or_separated_by_commas(config: WriteConfig) -> None:
    found = settings.load(
        config("template: t"), {"baselines": "eager, max_autotune", "shapes": "[[1, 2]]", "knobs": "{unroll: [1, 2]}"}
    )
    assert found.baselines == ("eager", "max_autotune")
    assert found.input_shapes == (((1, 2),),)
    assert found.knobs == {"unroll": (1, 2)}


def test_paths_are_relative_to_where_they_are_written(
    config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.py").write_text("")
    monkeypatch.chdir(elsewhere)
    path = config("template: ./mine\nproblem: mine.py")
    assert settings.load(path).problem == tmp_path / "mine.py"
    assert settings.load(path).template == str(tmp_path / "mine")
    assert settings.load(path, {"problem": "other.py"}).problem == elsewhere / "other.py"


def test_a_wrong_option_is_named(config: WriteConfig) -> None:
    path = config("template: t")
    assert fault(path, trials="many") == "--trials: should be a valid integer, not 'many'"
    assert fault(path, sampler="grid").startswith("--sampler: should be 'gaussian'")
    assert fault(path, trails="3") == "option trails: unknown key 'trails'; did you mean 'trials'?"
    assert fault(path, knobs="{a: [").startswith("--knobs: line 1: ")


def test_a_wrong_variable_is_named(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TRIALS", "0")
    assert fault(config("template: t")).startswith("TUNER_TRIALS: should be greater than")


def test_a_misspelt_variable_is_refused(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TRAILS", "3")
    said = fault(config("template: gn_mean"))
    assert said == "TUNER_TRAILS: is set, and nothing reads it; did you mean TUNER_TRIALS?"


def test_a_variable_of_somebody_else_s_is_left_alone(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_OF_PIANOS", "3")
    assert settings.load(config("template: gn_mean")).trials == 200


def test_values_from_python_are_held_to_what_a_config_s_are(tmp_path: Path) -> None:
    own = Settings(template=str(tmp_path))
    made = changed(own, {"baselines": ["eager"], "shapes": [(4, 8)], "time_budget_s": 60}, {})
    assert (made.baselines, made.shapes, made.time_budget_s) == (("eager",), ((4, 8),), 60)
    for values, says in (
        ({"baselines": ["eagr"]}, r"^baselines\.0: should be 'eager', .* not 'eagr'$"),
        ({"time_budget_s": -1}, "^seconds: should be greater than 0, not -1$"),
        ({"patiense": 3}, "^tune: unknown key 'patiense'; did you mean 'patience'"),
    ):
        with pytest.raises(ConfigError, match=says):
            changed(own, values, {"time_budget_s": "seconds"})


def test_every_wrong_key_is_told_in_one_line(config: WriteConfig) -> None:
    said = fault(config("template: t\ntrials: -3\nsampler: foo\ndtype: bf16"))
    assert [word for word in ("trials", "sampler", "dtype") if word not in said] == []
    assert "\n" not in said
