"""What a config names is looked up, and what is not there is blamed on the place where it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.configs import WriteConfig

from tuner import settings
from tuner.errors import TunerError
from tuner.records import Workload
from tuner.settings import resolve

OWN = "template: templates/tiny/\ndevice: cpu\n"


def test_a_template_of_one_s_own_is_found_from_anywhere(
    config: WriteConfig, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = settings.load(config(OWN))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    kernel, torch_device = resolve.template_and_device(one)
    assert (kernel.folder, torch_device) == (tiny_folder, "cpu")
    assert resolve.problem_path(one, kernel) == tiny_folder / "problem.py"


def test_a_problem_of_one_s_own_goes_before_the_template_s(config: WriteConfig, tiny_folder: Path) -> None:
    one = settings.load(config(OWN + "problem: templates/tiny/plain.py\n"))
    assert resolve.problem_path(one, resolve.checked_template(one)) == tiny_folder / "plain.py"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("template: no_such\n", "template: 'no_such' is not one of"),
        (OWN + "variants: [no_such]\n", "variants: 'no_such' is not one of plain, gpu"),
        (OWN + "variants: [gpu]\n", "variants: template tiny has no variant for this cpu device"),
        (OWN + "knobs: {no_such: [1]}\n", "knobs: 'no_such' is not a knob of tiny"),
        (OWN + "knobs: {unroll: [3]}\n", "knobs.unroll: 3 is not one of"),
    ],
)
@pytest.mark.usefixtures("tiny_folder")
def test_what_a_template_lacks_is_blamed_on_its_key(config: WriteConfig, text: str, said: str) -> None:
    path = config(text)
    with pytest.raises(TunerError) as caught:
        resolve.checked_template(settings.load(path))
    assert str(caught.value).startswith(f"{path}: {said}")


def test_each_stated_shape_is_a_workload(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Workload.model_validate({"init": [3], "inputs": [{"shape": [2, 3], "dtype": "float16"}]})
    monkeypatch.setattr(resolve, "own_workload", lambda problem, environment: own)
    one = settings.load(
        config("template: gn_mean\ninit: [8]\nshapes: [[4, 8], [5, 8]]\nprecision: ieee\ndtype: float32\n")
    )
    found = resolve.workloads(one, Path("problem.py"), {})
    assert [each.shapes for each in found] == [((4, 8),), ((5, 8),)]
    assert {(each.init, each.precision, each.dtype) for each in found} == {((8,), "ieee", "float32")}


def test_what_a_config_leaves_out_is_the_problem_s_own(config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Workload.model_validate({"init": [3], "inputs": [{"shape": [2, 3]}]})
    monkeypatch.setattr(resolve, "own_workload", lambda problem, environment: own)
    path = Path("problem.py")
    shaped = settings.load(config("template: gn_mean\nshapes: [[7, 3]]\n"))
    assert [(w.init, w.shapes) for w in resolve.workloads(shaped, path, {})] == [((3,), ((7, 3),))]
    built = settings.load(config("template: gn_mean\ninit: []\n"))
    assert [(w.init, w.shapes) for w in resolve.workloads(built, path, {})] == [((), ((2, 3),))]


MIXED = Workload.model_validate(
    {"init": [3], "inputs": [{"shape": [2, 3], "dtype": "float16"}, {"shape": [2], "dtype": "int64"}]}
)


@pytest.mark.parametrize(
    ("text", "dtypes"),
    [
        ("", ("float16", "int64")),
        ("init: [3]\nshapes: [[[4, 3], [4]]]\n", ("float16", "int64")),
        ("shapes: [[[4, 3], [4], [1]]]\n", ("float16", "int64", "float32")),
        ("dtype: float32\n", ("float32", "int64")),
        ("dtype: bfloat16\n", ("bfloat16", "int64")),
    ],
    ids=["nothing said", "shapes and arguments said", "more inputs than there are", "named", "a smaller one named"],
)
def test_an_input_keeps_its_own_dtype_unless_one_is_named_for_floating_ones(
    config: WriteConfig, monkeypatch: pytest.MonkeyPatch, text: str, dtypes: tuple[str, ...]
) -> None:
    monkeypatch.setattr(resolve, "own_workload", lambda problem, environment: MIXED)
    (found,) = resolve.workloads(settings.load(config(f"template: gn_mean\n{text}")), Path("problem.py"), {})
    assert found.dtypes == dtypes
    assert found.cast == (text.removeprefix("dtype: ").strip() if text.startswith("dtype") else None)


def test_stated_shapes_keep_the_inputs_own_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "own_workload", lambda problem, environment: MIXED)
    for init in (None, [3]):
        found = resolve.stated_workload(Path("problem.py"), ((4, 3), (4,)), init, "match", {})
        assert (found.shapes, found.dtypes) == (((4, 3), (4,)), ("float16", "int64"))
