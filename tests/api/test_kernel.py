"""A kernel from Python is a template's folder like any other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import tuner
from tuner import problem, settings, template
from tuner.api import Kernel, kernel
from tuner.errors import ConfigError
from tuner.settings import static

SOURCE = """\
#include <cmath>
#include "rows.hpp"
#ifndef UNROLL
#define UNROLL 2
#endif
extern "C" int softmax(const float* x, float* out, long long n, long long c, void*) {
  for (long long i = 0; i < n; i++) {
    float largest = -INFINITY;
    double sum = UNROLL * 0;
    for (long long j = 0; j < c; j++) largest = larger(x[i * c + j], largest);
    for (long long j = 0; j < c; j++) sum += out[i * c + j] = std::exp(x[i * c + j] - largest);
    for (long long j = 0; j < c; j++) out[i * c + j] /= sum;
  }
  return 0;
}
"""


class Scaled(torch.nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).softmax(1)


class Elsewhere(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return template.load(Path("x")), x


PROBLEM = """\
import torch
class Model(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale
    def forward(self, rows):
        return (rows * self.scale).softmax(1)
def get_inputs():
    return [torch.rand(8, 16)]
def get_init_inputs():
    return [1.0]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "softmax.cpp").write_text(SOURCE)
    (tmp_path / "rows.hpp").write_text("static float larger(float a, float b) { return a > b ? a : b; }\n")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def softmax(**changed: Any) -> Kernel:
    parts: dict[str, Any] = {
        "source": "softmax.cpp",
        "symbol": "softmax",
        "reference": lambda x: x.softmax(1),
        "inputs": lambda n, c: [torch.randn(n, c)],
        "outputs": lambda x: torch.empty_like(x),
        "arguments": lambda x, out: (x, out, *x.shape),
        "knobs": {"unroll": [1, 2, 4]},
        "constraints": {"whole vectors": lambda k, f: f.c % k.unroll == 0 or f.n == 61},
    }
    return kernel(**{**parts, **changed})


def test_its_folder_is_a_sound_template(project: Path) -> None:
    made = softmax()
    assert static.faults(settings.load(made.folder)) == []
    read = template.load(made.folder)
    (variant,) = read.variants
    assert (variant.name, variant.device, variant.knobs[0].default) == ("softmax", "cpu", 2)
    assert read.axes([], [(64, 1000)]) == {"n": 64, "c": 1000}
    assert (made.folder / "rows.hpp").is_file()


def test_it_is_saved_as_a_folder(project: Path) -> None:
    saved = softmax().save("kernels/mine")
    assert static.faults(settings.load(saved)) == []
    with pytest.raises(ConfigError, match="is there already"):
        softmax().save("kernels/mine")


def test_it_is_known_by_name(project: Path) -> None:
    made = softmax()
    assert settings.folder_of("softmax", project) == made.folder


def test_a_folder_is_such_a_kernel(project: Path) -> None:
    saved = softmax().save("kernels/mine")
    assert tuner.Kernel("kernels/mine").folder == saved.resolve()
    with pytest.raises(ConfigError, match=r"^kernels: no template\.py in it$"):
        tuner.Kernel("kernels")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"source": "no.cpp"}, "source: no.cpp: is not a .cu or a .cpp file"),
        ({"name": "No"}, "name: 'No' is not a lower-case identifier"),
        ({"inputs": lambda n, c: [torch.randn(n, 3)]}, "inputs: c is no size of a tensor"),
        ({"reference": lambda x: project(x)}, "reference: uses project"),
        ({"reference": 3}, "^reference: wants a function, a torch.nn.Module class or a problem file, not 3$"),
        ({"reference": int}, "^reference: wants a function, a torch.nn.Module class or a problem file, not <class"),
        ({"reference": torch.nn.ReLU()}, "^reference: wants a function, a torch.nn.Module class or a problem file"),
        ({"reference": Elsewhere}, "^reference: uses Path, which"),
        ({"reference": Scaled, "init": (1.0, 2.0)}, r"^reference: Scaled: init=\(1.0, 2.0\): too many"),
        ({"init": (1.0,)}, "^init: is for a reference that is a class$"),
        ({"inputs": None}, "^inputs: wanted, unless reference is a problem file$"),
    ],
)
def test_what_cannot_be_a_kernel_is_one_line(project: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        softmax(**changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [("source", None), ("symbol", 3), ("symbol", 'x"y'), ("inputs", 3), ("inputs", lambda n, c: None),
     ("inputs", lambda n, c: torch.randn(n, c)), ("inputs", lambda n, c: [1]),
     ("inputs", lambda n, c: [torch.randn(n) + torch.randn(c)]), ("outputs", None), ("arguments", [1]),
     ("knobs", None), ("knobs", []), ("knobs", {3: [1]}), ("knobs", {"unroll": 3}), ("knobs", {"unroll": []}),
     ("knobs", {"unroll": "12"}), ("constraints", []), ("constraints", {"r": 3}), ("name", 3), ("init", None)],
)  # fmt: skip
def test_a_value_of_another_kind_is_one_line_that_names_it(project: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}\b.*: ") as refused:
        softmax(**{name: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("init", "weight"), [((), 1.0), ((3.0,), 3.0)])
def test_its_reference_is_a_class(project: Path, init: tuple[float, ...], weight: float) -> None:
    made = softmax(
        reference=Scaled, init=init, arguments=lambda model, x, out: (x, out, *x.shape, model.weight.numel())
    )
    assert static.faults(settings.load(made.folder)) == []
    found = problem.load(made.folder / "problem.py")
    model, x = found.model(*found.get_init_inputs()), torch.randn(3, 5)
    torch.testing.assert_close(model(x), (x * weight).softmax(1))
    launched: list[Any] = []
    names: dict[str, Any] = {"torch": torch, "aligned": lambda x: x}
    exec((made.folder / "softmax.py").read_text(), names)
    kernel_ = SimpleNamespace(launch=lambda *given: launched.append(given))
    names["softmax"](model, kernel_, x)
    assert launched[0][3:] == (3, 5, 1)


def test_its_reference_is_a_problem_file(project: Path) -> None:
    (project / "mine.py").write_text(PROBLEM)
    for path in ("mine.py", project / "mine.py"):
        made = softmax(reference=path, inputs=None, constraints={"whole": lambda k, f: f.size0_1 % k.unroll == 0})
        assert static.faults(settings.load(made.folder)) == []
        assert template.load(made.folder).axes([], [(8, 16)]) == {"size0_0": 8, "size0_1": 16}
        assert (made.folder / "problem.py").read_text() == PROBLEM


def test_inputs_take_the_place_of_a_problem_files_own(project: Path) -> None:
    (project / "mine.py").write_text(PROBLEM)
    found = problem.load(softmax(reference="mine.py").folder / "problem.py")
    assert problem.default_workload(found).inputs[0].shape == (61, 67)


@pytest.mark.slow
def test_it_is_tuned_called_and_exported(project: Path, needs_compiler: None) -> None:
    made = softmax()
    result = made.tune([(16, 64)], trials=2, device="cpu", final_budget_s=1.0, baselines=("eager",))
    assert result.best is not None and result.best.workload.shapes == ((16, 64),)
    assert len(result.trials) == 2 == len(result.rows()) and result.rows()[0]["unroll"] in (1, 2, 4)
    x = torch.randn(5, 64)
    torch.testing.assert_close(made(x), x.softmax(1))
    torch.testing.assert_close(Kernel(made.folder)(x), x.softmax(1))


TIMES = """\
#include "numerics/element.hpp"
#ifndef UNROLL
#define UNROLL 2
#endif
extern "C" int times(const Element* x, const Element* weight, Element* out, long long n, void*) {
  for (long long i = 0; i < n; i++) out[i] = to_element(to_float(x[i]) * to_float(*weight) + UNROLL * 0);
  return 0;
}
"""


class Times(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.slow
def test_a_class_with_weights_is_tuned_and_called_in_each_dtype(project: Path, needs_compiler: None) -> None:
    Path("times.cpp").write_text(TIMES)
    made = kernel(
        source="times.cpp",
        symbol="times",
        reference=Times,
        inputs=lambda n, c: [torch.randn(n, c)],
        outputs=lambda x: torch.empty_like(x),
        arguments=lambda model, x, out: (x, model.weight, out, x.numel()),
        knobs={"unroll": [1, 2]},
    )
    for dtype in ("bfloat16", "float32"):
        result = made.tune(dtype=dtype, trials=1, device="cpu", final_budget_s=1.0, baselines=("eager",))
        assert result.best is not None and result.best.workload.dtype == dtype
    for x in (torch.randn(61, 67), torch.randn(61, 67).bfloat16()):
        assert torch.equal(made(x), x * torch.tensor([0.3]).to(x))


def bfloat16(source: str = SOURCE, **changed: Any) -> Kernel:
    Path("softmax.cpp").write_text(source)
    return softmax(inputs=lambda n, c: [torch.randn(n, c).bfloat16()], **changed)


def test_it_takes_the_dtypes_of_its_inputs(project: Path) -> None:
    assert template.load(bfloat16().folder).variants[0].dtypes == ("bfloat16",)
    made = bfloat16('#include "numerics/element.hpp"\n' + SOURCE.replace("const float*", "const Element*"))
    assert template.load(made.folder).variants[0].dtypes == ("float32", "float16", "bfloat16")


def test_it_takes_a_dtype_for_each_input(project: Path) -> None:
    made = softmax(
        reference=lambda x, w: (x * w).softmax(1),
        inputs=lambda n, c: [torch.randn(n, c).bfloat16(), torch.rand(c)],
        outputs=lambda x, w: torch.empty_like(x),
        arguments=lambda x, w, out: (x, out, *x.shape),
    )
    (variant,) = template.load(made.folder).variants
    assert variant.takes(("bfloat16", "float32")) and not variant.takes(("float16",))


def test_its_host_refuses_inputs_that_no_sizes_are_of(project: Path) -> None:
    made = softmax(
        reference=lambda x, w: (x * w).softmax(1),
        inputs=lambda n, c: [torch.randn(n, c), torch.rand(c)],
        outputs=lambda x, w: torch.empty_like(x),
        arguments=lambda x, w, out: (x, out, *x.shape),
    )
    names: dict[str, Any] = {"torch": torch, "aligned": lambda x: x}
    exec((made.folder / "softmax.py").read_text(), names)
    for shapes in (((6, 1), (8,)), ((8,), (8,))):
        with pytest.raises(RuntimeError, match=r"^softmax takes \(n, c\), \(c\), not \("):
            names["softmax"](None, None, *map(torch.ones, shapes))


def test_what_is_asked_of_a_search_is_checked_first(project: Path) -> None:
    with pytest.raises(ConfigError, match=r"^seconds: should be greater than 0"):
        softmax().tune(seconds=-1)
    with pytest.raises(ConfigError, match=r"^tune: unknown key 'secnds'"):
        softmax().tune(secnds=1)
