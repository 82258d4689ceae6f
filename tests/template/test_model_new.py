"""ModelNew as it is derived from a problem where a template has no model_new.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tuner import template
from tuner.errors import TemplateError
from tuner.space import Point
from tuner.template import render
from tuner.template.model_new import derived, model_new

POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))


def test_a_file_of_the_folder_is_taken_as_it_is(tiny_folder: Path) -> None:
    assert model_new(tiny_folder) == (tiny_folder / "model_new.py").read_text()


def test_without_one_the_problem_s_constructor_is_taken(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    assert model_new(tiny_folder) == (
        "class ModelNew(nn.Module):\n"
        "    def __init__(self, size):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.arange(1.0, size + 1))\n\n"
        "    def forward(self, x):\n"
        "        return run(self, x)\n"
    )


def test_a_candidate_of_it_has_the_reference_s_parameters(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    names: dict[str, Any] = {}
    exec(render.candidate(template.load(tiny_folder), [tuned]).text, names)
    names["KERNELS"][0].host = lambda model, kernel, x: x * model.weight
    x = torch.rand(4, 8)
    assert torch.equal(names["ModelNew"](8)(x), x * torch.arange(1.0, 9))


def test_what_the_constructor_uses_comes_with_it(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    problem = tiny_folder / "problem.py"
    more = "def first():\n    return second()\n\n\ndef second():\n    return 1.0\n\n\ndef other(): ...\n\n\nclass Model"
    problem.write_text(problem.read_text().replace("class Model", more).replace("arange(1.0", "arange(first()"))
    text = model_new(tiny_folder)
    assert "def first" in text and "def second" in text and "other" not in text


def test_constants_and_imports_that_the_constructor_uses_come_with_it(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    problem = tiny_folder / "problem.py"
    more = "from math import fabs as size\nOTHER, START = 2.0, size(-1.0)\nLEAST: float = START\n"
    problem.write_text(more + problem.read_text().replace("arange(1.0", "arange(LEAST"))
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    names: dict[str, Any] = {}
    exec(render.candidate(template.load(tiny_folder), [tuned]).text, names)
    assert torch.equal(names["ModelNew"](8).weight, torch.arange(1.0, 9))


def test_the_old_way_to_call_the_base_class_is_taken(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    problem = tiny_folder / "problem.py"
    problem.write_text(problem.read_text().replace("super()", "super(Model, self)"))
    assert "super().__init__()" in model_new(tiny_folder)


def test_methods_that_the_constructor_calls_come_with_it(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    problem = tiny_folder / "problem.py"
    text = problem.read_text().replace("arange(1.0", "arange(self.first()")
    problem.write_text(text.replace("    def forward", "    def first(self):\n        return 1.0\n\n    def forward"))
    assert "def first(self)" in model_new(tiny_folder)


def test_forward_takes_no_more_than_the_inputs() -> None:
    problem = "class Model(nn.Module):\n    def forward(self, x, mask=None):\n        return x\n"
    assert "run(self, x)" in derived(problem, 1)


@pytest.mark.parametrize(
    ("taken", "inputs", "run"),
    [("x, /, y", 2, "run(self, x, y)"), ("*xs", 2, "run(self, *xs)"), ("x, *rest", 1, "run(self, x)"),
     ("x, *, scale=2", None, "run(self, x)")],
)  # fmt: skip
def test_forward_takes_inputs_in_whatever_way_the_problem_s_does(taken: str, inputs: int | None, run: str) -> None:
    problem = f"class Model(nn.Module):\n    def forward(self, {taken}):\n        return x\n"
    assert run in derived(problem, inputs)


BASE = (
    "class Base(nn.Module):\n    def forward(self, x, y):\n        return first(x)\n\n\ndef first(x):\n    return x\n"
)


@pytest.mark.parametrize(
    ("problem", "inputs", "run"),
    [
        (f"{BASE}class Model(Base):\n    pass\n", None, "run(self, x, y)"),
        ("class Model(nn.Module):\n    forward = lambda self, x, y: x\n", None, "run(self, x, y)"),
        ("class Model(nn.Module):\n    forward = staticmethod(abs)\n", None, "run(self, *inputs)"),
        ("class Model(nn.ReLU):\n    pass\n", 2, "run(self, input_1, input_2)"),
    ],
)
def test_a_forward_that_is_none_of_the_class_s_own(problem: str, inputs: int | None, run: str) -> None:
    assert run in derived(problem, inputs)


def test_base_classes_come_with_what_they_use() -> None:
    text = derived(f"{BASE}class Model(Base):\n    pass\n")
    assert text.startswith(BASE.partition("\n\n\n")[0]) and "def first(x)" in text
    assert "class ModelNew(Base):\n    def __init__(self, *given):\n        super().__init__(*given)" in text


def test_what_is_no_class_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    (tiny_folder / "problem.py").write_text("Model = lambda size: nn.ReLU()\n")
    with pytest.raises(TemplateError, match=r"problem\.py: there is no class Model; write .*model_new\.py"):
        model_new(tiny_folder)


def test_a_constructor_that_uses_what_is_not_there_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "model_new.py").unlink()
    problem = tiny_folder / "problem.py"
    problem.write_text(problem.read_text().replace("arange(1.0", "arange(START"))
    with pytest.raises(TemplateError, match=r"problem\.py: the constructor of Model uses START; write .*model_new\.py"):
        template.load(tiny_folder)
