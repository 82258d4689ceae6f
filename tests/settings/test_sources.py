"""Configs: what is taken, what wins over what, and one clear line for everything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tuner import settings
from tuner.errors import ConfigError
from tuner.settings import project

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def config(tmp_path):
    """Write a config and return its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def fault(path, **overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults(config):
    found = settings.load(config("template: gn_mean"))
    assert (found.trials, found.device, found.sampler, found.precision, found.error_budget) == (
        200,
        "auto",
        "tpe",
        "match",
        8.0,
    )
    assert found.baselines == ("eager", "compile")
    assert found.input_shapes is None


def test_settings_are_frozen(config):
    with pytest.raises(ValidationError):
        settings.load(config("template: gn_mean")).trials = 3


def test_every_key_is_read(config):
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


def test_a_shape_may_list_several_inputs(config):
    assert settings.load(config("template: t\nshapes: [[[1, 2], [3]]]")).input_shapes == (((1, 2), (3,)),)


def test_option_goes_over_environment_over_yaml_over_default(config, monkeypatch):
    path = config("template: t\ntrials: 1\nseed: 1\nsampler: random")
    monkeypatch.setenv("TUNER_TRIALS", "2")
    monkeypatch.setenv("TUNER_SEED", "2")
    found = settings.load(path, {"trials": "3", "device": None})
    assert (found.trials, found.seed, found.sampler, found.device) == (3, 2, "random", "auto")


def test_an_empty_variable_is_not_set(config, monkeypatch):
    monkeypatch.setenv("TUNER_TRIALS", "")
    assert settings.load(config("template: t")).trials == 200


def test_options_of_lists_are_yaml_or_separated_by_commas(config):
    found = settings.load(
        config("template: t"), {"baselines": "eager, max_autotune", "shapes": "[[1, 2]]", "knobs": "{unroll: [1, 2]}"}
    )
    assert found.baselines == ("eager", "max_autotune")
    assert found.input_shapes == (((1, 2),),)
    assert found.knobs == {"unroll": (1, 2)}


def test_paths_are_relative_to_where_they_are_written(config, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.py").write_text("")
    monkeypatch.chdir(elsewhere)
    path = config("template: ./mine\nproblem: mine.py")
    assert settings.load(path).problem == tmp_path / "mine.py"
    assert settings.load(path).template == str(tmp_path / "mine")
    assert settings.load(path, {"problem": "other.py"}).problem == elsewhere / "other.py"


def test_words_are_not_booleans_and_only_plain_numbers_are_numbers(config):
    found = settings.load(config("template: t\nknobs: {a: [no, on, yes], b: ['1'], c: [010, 1_0, 1:30, 2020-01-01]}"))
    assert found.knobs == {"a": ("no", "on", "yes"), "b": ("1",), "c": ("010", "1_0", "1:30", "2020-01-01")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("template: t\ntrails: 3", "config.yaml: unknown key 'trails'; did you mean 'trials'?"),
        ("template: t\nxyzzy: 3", "unknown key 'xyzzy'; the keys are template, problem, device"),
        ("trials: 3", "template: is missing"),
        ("template: t\ntrials: 0", "config.yaml: trials: should be greater than or equal to 1, not 0"),
        ("template: t\ntrials: '3'", "trials: should be a valid integer, not '3'"),
        ("template: t\ntrials: true", "trials: should be a valid integer, not True"),
        ("template: t\ntrials: 1.5", "trials: should be a valid integer"),
        ("template: t\ntrials: 010", "trials: should be a valid integer, not '010'"),
        ("template: t\ntrials:", "trials: should be a valid integer, not None"),
        ("template: t\ntime_budget_s: 0", "time_budget_s: should be greater than 0"),
        ("template: t\ntime_budget_s: .inf", "time_budget_s: should be a finite number"),
        ("template: t\nerror_budget: .nan", "error_budget: "),
        ("template: t\nerror_budget: 1e999", "error_budget: "),
        ("template: t\nseed: -1", "seed: should be greater than or equal to 0"),
        ("template: t\nsampler: grid", "sampler: should be 'tpe', 'random' or 'exhaustive', not 'grid'"),
        ("template: t\nprecision: fp16", "precision: should be 'match', 'ieee' or 'tf32', not 'fp16'"),
        ("template: t\ndtype: float16", "dtype: should be 'float32', not 'float16'"),
        ("template: t\ndevice: gpu", "device: should be auto, cuda, cuda:N or cpu, not 'gpu'"),
        ('template: t\ndevice: "cpu\\n"', "device: should be auto, cuda, cuda:N or cpu"),
        ("template: t\nbaselines: [eagre]", "baselines.0: should be 'eager'"),
        ("template: t\nbaselines: eager", "baselines: should be a list, not 'eager'"),
        ("template: t\nshapes: []", "shapes: should be a list of shapes"),
        ("template: t\nshapes: [3, 4]", "shapes.0: should be a list of shapes"),
        ("template: t\nshapes: [[1, 0]]", "shapes.0.1: should be a list of shapes"),
        ("template: t\nshapes: [[]]", "shapes.0: should be a list of shapes"),
        ("template: t\nshapes: [[1, [2]]]", "shapes.0"),
        ("template: t\nknobs: {unroll: []}", "knobs.unroll: should be a list of integers"),
        ("template: t\nknobs: {unroll: 4}", "knobs.unroll: should be a list of integers"),
        ("template: t\nknobs: {unroll: [1.5]}", "knobs.unroll.0: should be int, bool or word, not 1.5"),
        ("template: t\nknobs: [unroll]", "knobs: should be a mapping"),
        ("template: t\nproblem: nope.py", "problem: no such file"),
        ('template: t\nproblem: "a\\0b"', "problem: a path holds no NUL character"),
        ("template: 3", "template: should be a valid string, not 3"),
        ("template: ''", "template: should have at least 1 character"),
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("- template: t", "wants a mapping"),
        ("just words", "wants a mapping"),
        ("template: [", "config.yaml: line 1: "),
        ("template: t\n\tseed: 1", "line 2: "),
        ("template: t\nseed: 1\nseed: 2", "line 3: key 'seed' is there twice"),
        ("template: t\nknobs: {a: [1], a: [2]}", "line 2: key 'a' is there twice"),
        ("template: &a t\nproblem: *a", "line 2: aliases are not taken"),
        ("template: !!python/object/apply:os.system [ls]", "tags are not taken"),
        ("template: !!str t", "tags are not taken"),
        ("template: t\n1: 2", "line 2: a key is a plain word"),
        ("? [a]\n: 1", "a key is a plain word"),
        ("template: t\ninit: " + "[" * 100, "nested too deeply"),
        ("template: t\n---\ntemplate: u", "line 2: "),
        ("template: a\x00b", "is not YAML"),
        (b"template: \xff", "is not UTF-8 (byte 10)"),
        (b"#" * 1_000_001, "is larger than"),
    ],
)
def test_a_wrong_config_is_one_line(config, text, said):
    path = config(text)
    assert said in fault(path)
    assert fault(path).startswith(str(path))


def test_an_alias_bomb_is_refused_at_once(config):
    bomb = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(30))
    assert "aliases are not taken" in fault(config(bomb))


def test_a_missing_file_is_named(tmp_path):
    assert fault(tmp_path / "nope.yaml").endswith("nope.yaml: cannot be read: No such file or directory")


def test_a_folder_is_no_config(tmp_path):
    assert "is not a file" in fault(tmp_path)


def test_a_path_with_a_nul_is_no_config():
    assert "cannot be read" in fault(Path("a\0b"))


def test_a_wrong_option_is_named(config):
    path = config("template: t")
    assert fault(path, trials="many") == "--trials: should be a valid integer, not 'many'"
    assert fault(path, sampler="grid").startswith("--sampler: should be 'tpe'")
    assert fault(path, trails="3") == "option trails: unknown key 'trails'; did you mean 'trials'?"
    assert fault(path, knobs="{a: [").startswith("--knobs: line 1: ")


def test_a_wrong_variable_is_named(config, monkeypatch):
    monkeypatch.setenv("TUNER_TRIALS", "0")
    assert fault(config("template: t")).startswith("TUNER_TRIALS: should be greater than")


def lines_of_fault(path: Path) -> int:
    """How many lines the fault of a config takes, 0 for a good one; another exception is a bug."""
    try:
        settings.load(path)
    except ConfigError as error:
        return len(str(error).splitlines())
    return 0


BYTES = (
    st.binary(max_size=80)
    | st.text(max_size=80).map(str.encode)
    | st.text(alphabet="[]{}:-,&*!|>'\"# \nt0").map(str.encode)
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(BYTES)
def test_any_bytes_give_settings_or_one_line(config, text):
    assert lines_of_fault(config(text)) <= 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.dictionaries(st.sampled_from(list(settings.Settings.model_fields)), VALUES, max_size=4))
def test_any_values_give_settings_or_one_line(config, values):
    assert lines_of_fault(config(json.dumps({"template": "t", **values}))) <= 1


def test_the_published_schema_is_the_one_of_the_code():
    assert (CONFIGS / settings.SCHEMA_FILE).read_text() == settings.json_schema_text(), (
        "write it again: python -c 'from tuner.settings import json_schema_text as t; print(t(), end=\"\")' "
        "> configs/schema.json"
    )


def test_the_schema_knows_every_key_and_no_other():
    schema = settings.json_schema()
    assert set(schema["properties"]) == set(settings.Settings.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["template"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_valid_and_points_editors_to_the_schema(path):
    settings.load(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("mark", ["pyproject.toml", ".git", "kernel_templates"])
def test_the_project_is_the_nearest_folder_with_a_mark(tmp_path, mark):
    inner = tmp_path / "project" / "configs"
    inner.mkdir(parents=True)
    (tmp_path / "project" / mark).mkdir()
    assert settings.project_root(inner / "a.yaml") == tmp_path / "project"
    assert settings.cache_root(inner / "a.yaml") == tmp_path / "project" / "cache"


def test_the_variable_overrides_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "mine"))
    assert settings.cache_root(CONFIGS) == tmp_path / "mine"


def test_what_an_installed_wheel_carries_is_no_project():
    assert settings.project_root(Path(settings.__file__).parents[1] / "shipped" / "configs") is None


@pytest.mark.parametrize(
    ("xdg", "expected"),
    [("/xdg", "/xdg/tuner/cache"), ("relative", "/home/me/.cache/tuner/cache"), ("", "/home/me/.cache/tuner/cache")],
)
def test_outside_any_project_the_user_s_cache_is_used(monkeypatch, xdg, expected):
    monkeypatch.setattr(project, "project_root", lambda start: None)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert settings.cache_root(Path("/somewhere")) == Path(expected)


def test_a_misspelt_variable_is_refused(config, monkeypatch):
    monkeypatch.setenv("TUNER_TRAILS", "3")
    said = fault(config("template: gn_mean"))
    assert said == "TUNER_TRAILS: is set, and nothing reads it; did you mean TUNER_TRIALS?"


def test_a_variable_of_somebody_else_s_is_left_alone(config, monkeypatch):
    monkeypatch.setenv("TUNER_OF_PIANOS", "3")
    assert settings.load(config("template: gn_mean")).trials == 200


@pytest.mark.parametrize("given_by", ["yaml", "variable", "option"])
def test_a_fault_is_blamed_on_the_place_where_its_key_was_given(config, monkeypatch, given_by):
    path = config("template: gn_mean\n" + ("device: cpu\n" if given_by == "yaml" else ""))
    if given_by == "variable":
        monkeypatch.setenv("TUNER_DEVICE", "cpu")
    one = settings.load(path, {"device": "cpu"} if given_by == "option" else {})
    with pytest.raises(ConfigError) as caught, one.blame("device"):
        raise ConfigError("device: is not there")
    place = {"yaml": f"{path}: device", "variable": "TUNER_DEVICE", "option": "--device"}[given_by]
    assert str(caught.value) == f"{place}: is not there"
