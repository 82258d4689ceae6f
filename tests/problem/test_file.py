"""Problem files: what they give, and every fault of theirs in one line that names the file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.tiny import TINY

from tuner import problem
from tuner.errors import DeviceFailed, ProblemError
from tuner.records import TensorSpec, Workload

TEXT = TINY["problem.py"]
INPUTS, INIT, FORWARD = "return [torch.rand(4, 8)]", "return [8]", "return x * self.weight"
OTHER = (torch.int64, torch.bool, torch.float16)
OWN = Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),))


Write = Callable[..., Path]  # given a line and what stands in its place


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """The tiny problem with one of its lines replaced."""

    def write(line: str = "", by: str = "") -> Path:
        assert line in TEXT
        path = tmp_path / "problem.py"
        path.write_text(TEXT.replace(line, by))
        return path

    return write


def fault(path: Path, function: Callable[..., object], *arguments: object) -> str:
    """The one line that a function refuses a problem file with."""
    with pytest.raises(ProblemError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert re.match(rf"{re.escape(str(path))}(:\d+)?: ", text) and len(text.splitlines()) == 1, text
    return text


# ---- dtypes ----------------------------------------------------------------------------------------


def test_a_model_that_refuses_a_dtype_is_told_which(write: Write) -> None:
    loaded = problem.load(write(FORWARD, "return torch.eye(8) @ x"))
    own = Workload(init=(8,), inputs=(TensorSpec(shape=(8, 8), dtype="float64"),))
    model = problem.reference(loaded, own, 0)
    said = fault(loaded.path, problem.forward, loaded, model, problem.inputs(loaded, own, 0, "cpu"))
    assert "Model refuses inputs of shapes [[8, 8]] in float64: RuntimeError: " in said


# ---- lines -----------------------------------------------------------------------------------------

CALLED = "    def forward(self, x):\n        return x * self.weight\n"


@pytest.mark.parametrize(
    ("forward", "line"),
    [
        ("    def forward(self, x, y):\n        return x * y\n", 10),
        ("    forward = lambda self, x, y: x * y\n", 10),
        (
            "class Base(Model):\n    def forward(self, x, y):\n        return x * y\n\n\nclass Model(Base): ...\n",
            11,
        ),
    ],
)
def test_a_call_that_a_forward_does_not_take_names_the_forward_s_line(write: Write, forward: str, line: int) -> None:
    path = write(CALLED, forward)
    assert fault(path, problem.require_takes, problem.load(path), OWN).startswith(
        f"{path}:{line}: Model refuses inputs"
    )


def test_arguments_that_a_constructor_does_not_take_name_its_line(write: Write) -> None:
    path = write("(self, size)", "(self, size, other)")
    assert fault(path, problem.require_takes, problem.load(path), OWN).startswith(f"{path}:6: Model refuses init [8]")


# ---- loading ---------------------------------------------------------------------------------------


def test_a_problem_knows_its_file(write: Write) -> None:
    loaded = problem.load(path := write())
    assert (loaded.path, loaded.sha256) == (path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert isinstance(loaded.model, type) and loaded.model.__name__ == "Model" and loaded.get_init_inputs() == [8]


def test_a_number_beside_tensors_is_an_input_of_one_element(write: Write) -> None:
    loaded = problem.load(write(INPUTS, "return [torch.rand(4, 8).half(), 3.5, 2]"))
    specs = problem.default_workload(loaded).inputs
    assert [(spec.shape, spec.dtype) for spec in specs] == [((4, 8), "float16"), ((), "float16"), ((), "int64")]


@pytest.mark.parametrize("name", ["no_such.py", "."])
def test_no_file_is_a_fault(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "no such problem file" in fault(path, problem.load, path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def", "SyntaxError"),
        ("\0", ""),
        ("raise ValueError", "ValueError"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def deeper(): deeper()\ndeeper()", "RecursionError"),
    ],
)
def test_a_file_that_cannot_be_executed_is_a_fault(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "problem.py"
    path.write_text(text)
    assert says in fault(path, problem.load, path)


@pytest.mark.parametrize("name", ["Model", "get_inputs", "get_init_inputs"])
@pytest.mark.parametrize("instead", ["", "{} = 3"])
def test_a_file_that_lacks_a_part_is_a_fault(tmp_path: Path, name: str, instead: str) -> None:
    path = tmp_path / "problem.py"
    path.write_text(TEXT.replace(f"{name}(", f"other_{name}(") + instead.format(name))
    assert f"defines no {name}" in fault(path, problem.load, path)


@pytest.mark.parametrize("line", [INPUTS, INIT, "super().__init__()", FORWARD])
@pytest.mark.parametrize(("by", "says"), [("[][1]", "IndexError: "), ("raise KeyError(3)", "KeyError: 3")])
def test_a_fault_names_the_line_that_it_comes_from(write: Write, line: str, by: str, says: str) -> None:
    path = write(line, by)
    number = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if by in text)
    loaded = problem.load(path)
    with pytest.raises(ProblemError) as caught:
        problem.require_takes(loaded, problem.default_workload(loaded))
    assert str(caught.value).startswith(f"{path}:{number}: ") and says in str(caught.value)


def test_a_fault_of_loading_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "problem.py"
    for text in ("import math\n\nimport no_such_module\n", "import math\n\ndef\n"):
        path.write_text(text)
        with pytest.raises(ProblemError, match=rf"{re.escape(str(path))}:3: "):
            problem.load(path)


def test_a_fault_whose_message_cannot_be_read_is_one_all_the_same(write: Write) -> None:
    silent = "exec('class Silent(Exception):\\n def __str__(self): raise ValueError'); raise locals()['Silent']"
    loaded = problem.load(write(FORWARD, silent))
    assert "Silent: its message cannot be read" in fault(loaded.path, problem.require_takes, loaded, OWN)


def test_a_model_that_is_no_module_is_a_fault(write: Write) -> None:
    loaded = problem.load(write("class Model(nn.Module)", "class Model"))
    for workload in (OWN, OWN.in_dtype("float64")):
        said = fault(loaded.path, problem.reference, loaded, workload, 0)
    assert "made a Model, not a torch.nn.Module" in said


# ---- its own workload ------------------------------------------------------------------------------


def test_the_default_workload_is_the_problem_s_own(write: Write) -> None:
    assert problem.default_workload(problem.load(write())) == OWN


def test_a_default_workload_has_every_input_with_its_dtype(write: Write) -> None:
    several = "return [torch.rand(2, 8), torch.rand(3, dtype=torch.float16)]"
    found = problem.default_workload(problem.load(write(INPUTS, several)))
    assert [(spec.shape, spec.dtype) for spec in found.inputs] == [((2, 8), "float32"), ((3,), "float16")]


@pytest.mark.parametrize(
    ("line", "by"),
    [
        (INPUTS, "1 / 0"),
        (INPUTS, "raise ValueError('two\\nlines')"),
        (INPUTS, "raise SystemExit"),
        (INPUTS, "return [3]"),
        (INPUTS, "return None"),
        (INPUTS, "return []"),
        (INIT, "1 / 0"),
        (INIT, "raise ValueError('two\\nlines')"),
        (INIT, "raise SystemExit"),
        (INIT, "return [torch]"),
        (INIT, "return [float('nan')]"),
        (INIT, "return None"),
        (INIT, "return {'size': 8}"),
        (INIT, "return '8'"),
    ],
)
def test_a_workload_that_cannot_be_had_is_a_fault(write: Write, line: str, by: str) -> None:
    loaded = problem.load(write(line, by))
    fault(loaded.path, problem.default_workload, loaded)


def test_a_workload_that_cannot_be_had_without_values_is_had_with_them(write: Write) -> None:
    by = "x = torch.rand(4, 8); return [x if x.numpy().any() else x[:3]]"
    assert problem.default_workload(problem.load(write(INPUTS, by))) == OWN


def test_a_workload_takes_no_memory_for_its_inputs(write: Write) -> None:
    found = problem.default_workload(problem.load(write(INPUTS, "return [torch.rand(2**40, 2**10)]")))
    assert found.shapes == ((2**40, 2**10),)


# ---- inputs ----------------------------------------------------------------------------------------


def drawn(loaded: problem.Problem, workload: Workload = OWN, seed: int = 3) -> list[torch.Tensor]:
    return problem.inputs(loaded, workload, seed, "cpu")


def test_inputs_of_the_problem_s_own_shapes_are_its_own(write: Write) -> None:
    (x,) = drawn(problem.load(write(INPUTS, "return [torch.arange(32.).view(4, 8)]")))
    assert torch.equal(x, torch.arange(32.0).view(4, 8))


def test_inputs_that_cannot_be_drawn_elsewhere_are_drawn_on_the_cpu(write: Write) -> None:
    loaded = problem.load(write(INPUTS, "return [torch.from_numpy(torch.rand(4, 8).numpy())]"))
    (x,) = problem.inputs(loaded, OWN, 3, None, drawn_on="meta")
    assert torch.equal(x, drawn(loaded)[0])


@pytest.mark.parametrize(
    "by", ['torch.rand(4, 8, device="cuda")', 'torch.rand(4, 8).to("cuda:0")', "torch.rand(4, 8).cuda()"]
)
def test_a_gpu_that_inputs_are_asked_for_on_is_not_needed(write: Write, by: str) -> None:
    loaded = problem.load(write(INPUTS, f"return [{by}]"))
    assert problem.default_workload(loaded) == OWN
    (x,) = drawn(loaded)
    assert x.device == torch.device("cpu") and x.shape == (4, 8)


@pytest.mark.gpu
def test_inputs_are_drawn_on_a_gpu_and_end_where_they_are_wanted(write: Write) -> None:
    loaded = problem.load(write())
    (there,), (here,) = (problem.inputs(loaded, OWN, 3, device, drawn_on="cuda:0") for device in (None, "cpu"))
    assert (there.device, here.device) == (torch.device("cuda:0"), torch.device("cpu"))
    assert torch.equal(there.cpu(), here) and not torch.equal(here, drawn(loaded)[0])


def test_inputs_of_other_shapes_have_the_problem_s_own_values(write: Write) -> None:
    several = "return [torch.randint(3, 7, (4, 8)), torch.rand(4) > 0.5, torch.rand(4, 8).half() - 9]"
    workload = OWN.with_inputs(
        [TensorSpec(shape=(100, 8), dtype="int64"), TensorSpec(shape=(50,), dtype="bool"),
         TensorSpec(shape=(100, 8), dtype="float16")]
    )  # fmt: skip
    integers, truths, halves = drawn(problem.load(write(INPUTS, several)), workload)
    assert (integers.shape, integers.dtype, truths.dtype, halves.dtype) == ((100, 8), *OTHER)
    assert set(integers.unique().tolist()) <= {3, 4, 5, 6} and len(integers.unique()) > 1
    assert halves.min() >= -9 and halves.max() < -8 and len(halves.unique()) > 8


def test_inputs_of_other_shapes_are_uniform_where_the_problem_s_own_are_constant(write: Write) -> None:
    workload = OWN.with_inputs((TensorSpec(shape=(100, 8), dtype="float64"),))
    (x,) = drawn(problem.load(write(INPUTS, "return [torch.full((4, 8), 9.)]")), workload)
    assert (x.shape, x.dtype) == ((100, 8), torch.float64)
    assert x.min() >= 0 and x.max() < 1 and len(x.unique()) > 1


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("return torch.rand(4, 8)", "get_inputs wants to return a list of tensors, not one Tensor"),
        ("return 3", "get_inputs wants to return a list of tensors, not one int"),
        ("return [3]", "get_inputs wants to return a list of tensors, not one with an int in it"),
        ("return [[torch.rand(4, 8)]]", "get_inputs wants to return a list of tensors, not one with a list in it"),
        ("return [torch.rand(4, 8) + 1j]", "not one with a torch.strided tensor of torch.complex64 in it"),
        ("return [torch.rand(4, 8).to_sparse()]", "not one with a torch.sparse_coo tensor of torch.float32 in it"),
    ],
)
def test_other_inputs_than_a_list_of_tensors_are_refused_in_words(write: Write, by: str, said: str) -> None:
    loaded = problem.load(write(INPUTS, by))
    assert said in fault(loaded.path, problem.default_workload, loaded)


def test_a_constructor_that_reads_a_value_is_tried_in_earnest(write: Write) -> None:
    loaded = problem.load(write("super().__init__()", "super().__init__(); self.size = torch.ones(1).item()"))
    problem.require_takes(loaded, OWN)


@pytest.mark.parametrize("shape", [(4, 8), (5, 8)])
def test_inputs_follow_their_seed(write: Write, shape: tuple[int, ...]) -> None:
    loaded, workload = problem.load(write()), OWN.with_inputs((TensorSpec(shape=shape),))
    (one,), (again,), (other,) = (drawn(loaded, workload, seed) for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("by", ["1 / 0", "raise ValueError('two\\nlines')", "raise SystemExit", "return [3]"])
def test_inputs_that_cannot_be_had_are_a_fault(write: Write, by: str) -> None:
    loaded = problem.load(write(INPUTS, by))
    fault(loaded.path, drawn, loaded)


# ---- the reference ---------------------------------------------------------------------------------


def test_parameters_follow_their_seed(write: Write) -> None:
    loaded = problem.load(write("torch.arange(1.0, size + 1)", "torch.randn(size)"))
    one, again, other = (problem.reference(loaded, OWN, seed).get_parameter("weight") for seed in (3, 3, 4))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_a_reference_is_cast_with_its_parameters_and_buffers(write: Write) -> None:
    line = "super().__init__()"
    buffer = "self.register_buffer('seen', torch.zeros(1)); self.register_buffer('count', torch.tensor(0))"
    loaded = problem.load(write(line, f"{line}; {buffer}"))
    model = problem.reference(loaded, OWN.in_dtype("bfloat16"), 0)
    kinds = {name: value.dtype for name, value in model.state_dict().items()}
    assert kinds == {"weight": torch.bfloat16, "seen": torch.bfloat16, "count": torch.int64}
    assert (
        problem.forward(loaded, model, problem.inputs(loaded, OWN.in_dtype("bfloat16"), 0, None)).dtype == kinds["seen"]
    )


def test_inputs_in_another_dtype_are_the_problem_s_own_values(write: Write) -> None:
    loaded = problem.load(write(INPUTS, "return [torch.rand(4, 8).softmax(1), torch.arange(3)]"))
    own = problem.default_workload(loaded)
    (x, index), (y, same) = (problem.inputs(loaded, one, 3, None) for one in (own, own.in_dtype("float16")))
    assert torch.equal(y, x.half()) and torch.equal(same, index)


def test_parameters_of_another_dtype_than_the_inputs_are_refused_unless_cast(write: Write) -> None:
    loaded = problem.load(write(INPUTS, "return [torch.rand(4, 8).half()]"))
    own = problem.default_workload(loaded)
    said = fault(loaded.path, problem.require_parameters, loaded, problem.require_takes(loaded, own), own)
    assert "parameter weight is of float32" in said and said.endswith(
        "`dtype: float16` in a config casts the model, too"
    )
    cast = own.in_dtype("float16")
    problem.require_parameters(loaded, problem.require_takes(loaded, cast), cast)


def test_what_the_reference_takes_passes(write: Write) -> None:
    problem.require_takes(problem.load(write()), OWN)


def test_asking_what_it_takes_computes_no_values(write: Write) -> None:
    terabytes = OWN.with_inputs((TensorSpec(shape=(2**40, 8)),))
    problem.require_takes(problem.load(write()), terabytes)


def test_shapes_that_the_reference_refuses_are_named(write: Write) -> None:
    loaded = problem.load(write())
    workload = OWN.with_inputs((TensorSpec(shape=(4, 9)),))
    assert "[4, 9]" in fault(loaded.path, problem.require_takes, loaded, workload)


def test_arguments_that_the_reference_refuses_are_named(write: Write) -> None:
    loaded = problem.load(write())
    workload = OWN.with_init((8, "two"))
    assert "'two'" in fault(loaded.path, problem.require_takes, loaded, workload)


@pytest.mark.parametrize("line", ["super().__init__()", FORWARD])
@pytest.mark.parametrize("by", ["1 / 0", "raise ValueError('two\\nlines')", "raise ValueError", "raise SystemExit"])
def test_whatever_a_reference_raises_is_a_fault(write: Write, line: str, by: str) -> None:
    loaded = problem.load(write(line, by))
    fault(loaded.path, problem.require_takes, loaded, OWN)


def test_a_device_that_is_out_of_memory_is_no_fault_of_the_problem(write: Write) -> None:
    loaded = problem.load(write(FORWARD, "raise torch.OutOfMemoryError('CUDA out of memory')"))
    model = problem.reference(loaded, OWN, 0)
    with pytest.raises(DeviceFailed, match="no memory for inputs of shapes"):
        problem.forward(loaded, model, [torch.rand(2, 3)])


@pytest.mark.parametrize("by", ["return x, x", "return [x, (x, x)]", "return x > 0", "return x.argmax(1)"])
def test_a_reference_may_give_several_tensors_of_any_numbers(write: Write, by: str) -> None:
    problem.require_takes(problem.load(write(FORWARD, by)), OWN)


@pytest.mark.parametrize(
    "by",
    [
        "return None",
        "return 3",
        "return {'y': x}",
        "return ()",
        "return x, None",
        "return x + 1j",
        "return self.weight",
    ],
)
def test_a_reference_that_gives_no_tensors_of_numbers_is_a_fault(write: Write, by: str) -> None:
    loaded = problem.load(write(FORWARD, by))
    fault(loaded.path, problem.require_takes, loaded, OWN)
