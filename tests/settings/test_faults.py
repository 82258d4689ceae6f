"""One clear line for everything that is wrong with a config."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from helpers.configs import WriteConfig, fault, lines_of_fault
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tuner import settings


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
        ("template: t\nerror_budget: 1e300", "error_budget: should be less than or equal to 1000000, not 1e+300"),
        ("template: t\ninit: .nan", "init: should be a list, not nan"),
        ("template: t\ninit: [8, .nan]", "init: should hold finite numbers, not [8, nan]"),
        ("template: t\ninit: [8, [.inf]]", "init: should hold finite numbers, not [8, [inf]]"),
        ("template: t\nshapes: [[999999999999999999, 8]]", "shapes.0.0: should be less than or equal to 1099511627776"),
        ("template: t\nshapes: [[[8], [4, 999999999999999999]]]", "shapes.0.1.1: should be less than or equal to"),
        ("template: t\nshapes: [[8, 1000000, 1000000]]", "shapes.0: should hold at most 1099511627776 numbers"),
        ("template: t\nrun_timeout_s: 1e300", "run_timeout_s: should be less than or equal to 1000000, not 1e+300"),
        ("template: t\nseed: -1", "seed: should be greater than or equal to 0"),
        ("template: t\nsampler: grid", "sampler: should be 'gaussian', 'tpe', 'random' or 'exhaustive', not 'grid'"),
        ("template: t\nprecision: fp16", "precision: should be 'match', 'ieee' or 'tf32', not 'fp16'"),
        ("template: t\ndtype: half", "dtype: should be 'float16', 'bfloat16', 'float32' or 'float64', not 'half'"),
        ("template: t\ndevice: gpu", "device: should be auto, cuda, cuda:N, cpu or cpu:A-B, not 'gpu'"),
        ('template: t\ndevice: "cpu\\n"', "device: should be auto, cuda, cuda:N, cpu or cpu:A-B"),
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
def test_a_wrong_config_is_one_line(config: WriteConfig, text: str | bytes, said: str) -> None:
    path = config(text)
    assert said in fault(path)
    assert fault(path).startswith(str(path))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@hypothesis.settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.dictionaries(st.sampled_from(list(settings.Settings.model_fields)), VALUES, max_size=4))
def test_any_values_give_settings_or_one_line(config: WriteConfig, values: dict[str, Any]) -> None:
    assert lines_of_fault(config(json.dumps({"template": "t", **values}))) <= 1
