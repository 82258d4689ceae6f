"""Kernel Tuner's formats, by the schemas that it ships where it is installed, and the way back."""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import pytest
from helpers.searched import write_search
from helpers.searching import ONE, TWO

from tuner.errors import ConfigError
from tuner.results import Searched, of_ledger, t4
from tuner.search import warm


@pytest.fixture
def searched(tmp_path: Path) -> Searched:
    return of_ledger(write_search(tmp_path / "cache", 20, space=TWO))


def test_t4_is_valid_by_kernel_tuners_own_schema(searched: Searched) -> None:
    utils, schema = pytest.importorskip("kernel_tuner.file_utils"), pytest.importorskip("jsonschema")
    document = json.loads(t4.text(t4.t4(searched)))
    for kind in ("results", "metadata"):
        schema.validate(document, utils.output_file_schema(kind)[1])


def test_t1_is_read_by_kernel_tuner(searched: Searched, tmp_path: Path) -> None:
    utils = pytest.importorskip("kernel_tuner.file_utils")
    file = tmp_path / "t1.json"
    file.write_text(t4.text(t4.t1(searched)))
    assert utils.get_input_file(file)["ConfigurationSpace"]["TuningParameters"][0]["Name"] == "variant"


def test_t1_has_each_point_of_the_space_once(searched: Searched) -> None:
    space = t4.t1(searched)["ConfigurationSpace"]
    names = [each["Name"] for each in space["TuningParameters"]]
    values = [ast.literal_eval(each["Values"]) for each in space["TuningParameters"]]
    rules = [each["Expression"] for each in space["Conditions"]]
    every = (dict(zip(names, point, strict=True)) for point in itertools.product(*values))
    assert sum(all(eval(rule, {}, point) for rule in rules) for point in every) == len(TWO)


def test_a_trial_keeps_its_outcome(searched: Searched) -> None:
    results = t4.t4(searched)["results"]
    assert [results[n]["invalidity"] for n in (0, 1, 7)] == ["correctness", "correct", "compile"]
    assert [results[n]["correctness"] for n in (0, 1, 7)] == [0, 1, 1]
    assert results[1]["measurements"][0] == {"name": "time", "value": 6.75, "unit": "ms"}


def test_what_was_written_is_read_as_points_best_first(searched: Searched, tmp_path: Path) -> None:
    file = tmp_path / "t4.json"
    file.write_text(t4.text(t4.t4(searched)))
    points = warm.points(TWO, warm.configurations(file))
    assert points[0] == (searched.best and searched.best.point)
    assert set(points) == {trial.point for trial in searched.right}


def test_another_tuners_file_names_no_variant(tmp_path: Path) -> None:
    configuration = {"a": 8, "b": 4, "mode": "fast", "off": False, "of theirs": 3}
    foreign = {"configuration": configuration, "times": {}, "invalidity": "correct", "correctness": 1}
    strange = {**foreign, "configuration": {**configuration, "a": 3}}
    file = tmp_path / "t4.json"
    file.write_text(json.dumps({"results": [foreign, strange]}))
    assert [point.knobs["a"] for point in warm.points(ONE, warm.configurations(file))] == [8]


@pytest.mark.parametrize("text", ["", "[]", '{"results": [{"configuration": 3}]}'])
def test_what_is_no_t4_file_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "t4.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"t4\.json: is no T4 file: [^\n]+$"):
        warm.configurations(file)
