"""The part that every candidate carries: which kernel it takes, what it hands to it, and what it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tuner import template
from tuner.backends import toolchain
from tuner.space import Point
from tuner.template import render

Runtime = Callable[..., dict[str, Any]]
POINT = Point("plain", (("unroll", 2), ("order", "rows"), ("fast", False), ("threads", 1)))


@pytest.fixture
def runtime(tiny: template.Template) -> Runtime:
    """The names of a candidate that was tuned for these shapes; its host function computes without a kernel."""

    def runtime(*shapes: Any, host: Any = lambda model, kernel, x: x * model.weight) -> dict[str, Any]:
        tuned = [render.Tuned(POINT, shape, "float32", "Test CPU", "match") for shape in shapes or [((4, 8),)]]
        names: dict[str, Any] = {}
        exec(render.candidate(tiny, tuned).text, names)
        for kernel in names["KERNELS"]:
            kernel.host = host
        return names

    return runtime


# ---- which kernel ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [
        ((10, 8), (10, 8)),
        ((1000, 8), (1000, 8)),
        ((99, 8), (10, 8)),  # the border is at 100: ratios count, not differences
        ((101, 8), (1000, 8)),
        ((1, 8), (10, 8)),
        ((0, 8), (10, 8)),
        ((10**6, 8), (1000, 8)),
    ],
)
def test_the_kernel_of_the_nearest_ratio_is_taken(
    runtime: Runtime, shape: tuple[int, ...], nearest: tuple[int, ...]
) -> None:
    names = runtime(((10, 8),), ((1000, 8),))
    assert names["nearest_kernel"]((torch.empty(shape),)).shapes == (nearest,)


def test_the_ratios_of_all_axes_count(runtime: Runtime) -> None:
    names = runtime(((10, 80),), ((40, 10),))
    assert names["nearest_kernel"]((torch.empty(20, 20),)).shapes == ((40, 10),)
    assert names["nearest_kernel"]((torch.empty(20, 80),)).shapes == ((10, 80),)


def test_a_kernel_for_other_axes_is_the_farthest(runtime: Runtime) -> None:
    names = runtime(((4, 8, 1),), ((1, 1),))
    assert names["nearest_kernel"]((torch.empty(4, 8),)).shapes == ((1, 1),)


def test_an_only_kernel_is_taken_for_any_shape(runtime: Runtime) -> None:
    assert runtime()["nearest_kernel"]((torch.empty(2, 3, 4),)).shapes == ((4, 8),)


# ---- what a kernel is handed -----------------------------------------------------------------------


@pytest.fixture
def aligned(runtime: Runtime) -> Any:
    return runtime()["aligned"]


def test_none_stays_none(aligned: Any) -> None:
    assert aligned(None) is None


def test_a_contiguous_tensor_is_taken_as_it_is(aligned: Any) -> None:
    x = torch.rand(4, 8)
    assert aligned(x) is x


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(8, 4).t(),
        torch.rand(4, 16)[:, ::2],
        torch.rand(1, 8).expand(4, 8),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.rand(33)[1:].view(4, 8),
    ],
    ids=["transposed", "strided", "expanded", "channels last", "offset"],
)
def test_any_other_is_copied(aligned: Any, x: torch.Tensor) -> None:
    y = aligned(x)
    assert torch.equal(x, y) and y.is_contiguous()
    assert y.data_ptr() % 16 == 0 and y.data_ptr() != x.data_ptr()


def test_an_offset_by_whole_vectors_is_taken_as_it_is(aligned: Any) -> None:
    x = torch.rand(36)[4:]
    assert aligned(x) is x
    assert aligned(x, 32) is not x


# ---- how a C function is called -----------------------------------------------------------------------

SIGNATURE = "int(float* x, unknown* work, int* codes, int n, double eps, void* stream)"


class Called:
    """Stands for a C function: keeps what it was called with."""

    argtypes: Any = None
    restype: Any = None

    def __call__(self, *values: Any) -> int:
        self.values = values
        return 0


def call(runtime: Runtime, *arguments: Any, signature: str = SIGNATURE) -> tuple[Any, ...]:
    """What the function is given for these arguments, with the stream 7."""
    function = Called()
    runtime()["Function"]("plain: run", function, signature, "cpu")(arguments, 7)
    return function.values


X, CODES = torch.zeros(3), torch.zeros(3, dtype=torch.int32)


def test_tensors_are_pointers_and_numbers_what_the_function_takes(runtime: Runtime) -> None:
    values = call(runtime, X, CODES, CODES, True, 1)
    assert values == (X.data_ptr(), CODES.data_ptr(), CODES.data_ptr(), 1, 1.0, 7)
    assert type(values[4]) is float


def test_none_is_a_null_pointer(runtime: Runtime) -> None:
    assert call(runtime, None, None, None, 1, 0.5)[:3] == (None, None, None)


def test_a_function_without_a_stream_gets_none(runtime: Runtime) -> None:
    assert call(runtime, 3, signature="int(int n)") == (3,)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((X, X, CODES, 3), r"run takes 5 arguments \(float\* x, .*, double eps\), not 4"),
        ((X, X, CODES, 3, 0.5, 1), "run takes 5 arguments .*, not 6"),
        ((X.double(), X, CODES, 3, 0.5), "takes float[*] x as argument 1, not a torch.float64 tensor on cpu"),
        ((X, X, CODES.long(), 3, 0.5), "takes int[*] codes as argument 3, not a torch.int64 tensor"),
        ((X, X, CODES, 3.5, 0.5), "takes int n as argument 4, not 3.5"),
        ((X, X, CODES, torch.tensor(3), 0.5), "takes int n as argument 4, not a torch.int64 tensor"),
        ((X, X, CODES, 3, torch.tensor(0.5)), "takes double eps as argument 5, not a torch.float32 tensor"),
        ((X, X, CODES, 3, None), "takes double eps as argument 5, not None"),
        ((X, 3, CODES, 3, 0.5), "takes unknown[*] work as argument 2, not 3"),
        ((torch.empty(3, device="meta"), X, CODES, 3, 0.5), "takes float[*] x as argument 1, not .* on meta"),
    ],
)
def test_what_a_function_does_not_take_is_refused(runtime: Runtime, arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        call(runtime, *arguments)


def test_a_number_out_of_range_is_refused(runtime: Runtime) -> None:
    with pytest.raises(OverflowError, match="4294967296 is out of the range of its argument int n"):
        call(runtime, X, X, CODES, 2**32, 0.5)


@pytest.mark.slow
def test_a_built_function_is_called_by_its_signature(
    tiny_folder: Path, needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same in a file that is on its own: an int where C has a double, and a later call with a fraction."""
    source = tiny_folder / "plain.cpp"
    source.write_text(source.read_text().replace("long long c, void*", "long long c, double by, void*"))
    source.write_text(source.read_text().replace("= times(x[i * c + j], w[j])", "= x[i * c + j] * by"))
    host = tiny_folder / "plain.py"
    host.write_text(host.read_text().replace("if threads else 0)", "if threads else 0, model.by)"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "built"))
    for name, value in toolchain.environment().items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    exec(render.candidate(template.load(tiny_folder), [tuned]).text, names)
    model, x = names["ModelNew"](8), torch.rand(4, 8)
    for by in (2, 0.5):
        model.by = by
        assert torch.equal(model(x), x * by)
    model.by = torch.tensor(2.0)
    with pytest.raises(TypeError, match="plain: scale takes double by as argument 6"):
        model(x)


# ---- gradients -------------------------------------------------------------------------------------


@pytest.fixture
def model(runtime: Runtime) -> Any:
    return runtime()["ModelNew"](8)


def test_a_backward_raises(model: Any) -> None:
    y = model(torch.rand(4, 8))
    assert y.requires_grad
    with pytest.raises(RuntimeError, match=r"no backward: run it under torch\.no_grad"):
        y.sum().backward()


def test_the_backward_of_each_of_several_results_raises(runtime: Runtime, tiny_folder: Path) -> None:
    """In whatever way they are nested; integers have none, and stay."""
    path = tiny_folder / "plain.py"
    path.write_text(path.read_text().replace("return out", "return out, inner"))
    results = runtime(host=lambda model, kernel, x: (x, (x * 2, x.argmax(1))))["ModelNew"](8)(torch.rand(4, 8))
    y, (twice, at) = results
    assert torch.equal(twice, y * 2) and not at.requires_grad
    for one in (y, twice):
        with pytest.raises(RuntimeError, match=r"no backward: run it under torch\.no_grad"):
            one.sum().backward()


def test_a_result_that_may_not_be_derived_is_right_all_the_same(model: Any) -> None:
    x = torch.rand(4, 8)
    assert torch.equal(model(x), x * torch.arange(1.0, 9))


def test_without_gradients_the_result_is_plain(model: Any) -> None:
    with torch.no_grad():
        assert not model(torch.rand(4, 8)).requires_grad
    model.requires_grad_(False)
    assert not model(torch.rand(4, 8)).requires_grad


def test_an_input_that_wants_a_gradient_is_refused(model: Any) -> None:
    with pytest.raises(RuntimeError, match="an input requires a gradient"):
        model(torch.rand(4, 8, requires_grad=True))


# ---- what it refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.rand(4, 8, dtype=torch.float64), "found an input that is torch.strided torch.float64"),
        (torch.rand(4, 8).to_sparse(), "found an input that is torch.sparse_coo"),
        (torch.empty(4, 8, device="meta"), "plain is a cpu kernel; the input is on meta"),
    ],
)
def test_an_input_that_no_kernel_takes_is_refused(model: Any, x: torch.Tensor, says: str) -> None:
    with pytest.raises(RuntimeError, match=says):
        model(x)


def test_a_parameter_of_another_type_is_refused(model: Any) -> None:
    with pytest.raises(RuntimeError, match=r"found a parameter that is torch\.strided torch\.float64"):
        model.double()(torch.rand(4, 8))


def test_autocast_does_not_reach_a_kernel(runtime: Runtime) -> None:
    names = runtime(host=lambda model, kernel, x: x @ x.t())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert names["ModelNew"](8)(torch.rand(4, 8)).dtype == torch.float32


# ---- dtypes that differ ------------------------------------------------------------------------------


@pytest.fixture
def mixed(tiny: template.Template) -> Runtime:
    """The names of a candidate whose kernels are for inputs of these dtypes; hosts return what they are given."""

    def mixed(*dtypes: tuple[str, ...]) -> dict[str, Any]:
        shapes = ((4, 8), (4, 8))
        tuned = [render.Tuned(POINT, shapes, "float32", "Test CPU", "match", each) for each in dtypes]
        names: dict[str, Any] = {}
        exec(render.candidate(tiny, tuned).text, names)
        for kernel in names["KERNELS"]:
            kernel.host = lambda model, kernel, *inputs: inputs
        names["ModelNew"].forward = lambda model, *inputs: names["run"](model, *inputs)
        return names

    return mixed


X48, CODES48 = torch.rand(4, 8), torch.zeros(4, 8, dtype=torch.int64)


def test_each_input_has_its_own_dtype(mixed: Runtime) -> None:
    names = mixed(("float32", "int64"))
    x, codes = names["ModelNew"](8)(X48, CODES48)
    assert torch.equal(x, X48) and codes is CODES48
    with pytest.raises(
        RuntimeError, match=r"takes as input 2 a strided torch\.int64 tensor on cpu; found .*torch\.int32"
    ):
        names["ModelNew"](8)(X48, CODES48.int())


def test_parameters_are_of_the_floating_dtype(mixed: Runtime) -> None:
    with pytest.raises(RuntimeError, match=r"as a parameter a strided torch\.float32 tensor .* torch\.float64"):
        mixed(("int64", "int64"))["ModelNew"](8).double()(CODES48, CODES48)


def test_of_several_results_those_that_have_a_gradient_raise_for_it(mixed: Runtime) -> None:
    x, codes = mixed(("float32", "int64"))["ModelNew"](8)(X48, CODES48)
    assert x.requires_grad and not codes.requires_grad
    with pytest.raises(RuntimeError, match="no backward"):
        x.sum().backward()


def test_kernels_of_other_dtypes_are_told_apart(mixed: Runtime) -> None:
    names = mixed(("float32", "int64"), ("float32", "int32"), ())
    for second in (CODES48, CODES48.int(), X48):
        assert names["nearest_kernel"]((X48, second)).dtypes == (torch.float32, second.dtype)
        names["ModelNew"](8)(X48, second)


def test_one_dtype_keeps_the_runtime_without_dtypes(tiny: template.Template) -> None:
    tuned = render.Tuned(POINT, ((4, 8),), "float32", "Test CPU", "match")
    assert "KernelOfEach" not in render.candidate(tiny, [tuned]).text
    assert "Tuned for 4x8 int64 on" in render.candidate(tiny, [dataclasses.replace(tuned, dtypes=("int64",))]).text
