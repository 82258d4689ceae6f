"""Every format: what is in it, that its ecosystem's own code reads it, and that it is judged in its own form."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import MakeRecord, changed

from tuner.errors import TunerError
from tuner.export import flashinfer, form, gpumode, kernelbench, kernels, module, source
from tuner.export.form import Form, Interface
from tuner.export.winners import FORMATS
from tuner.records import Floating, Record, TensorSpec, Workload
from tuner.template import Template, render

IO = Interface(
    inputs=(TensorSpec(shape=(4, 8)),),
    state=(("weight", TensorSpec(shape=(8,))),),
    outputs=(TensorSpec(shape=(4, 8)),),
)
Make = Callable[[Template, Record, str], Form]
MAKES: dict[str, Make] = {
    "module": lambda t, r, text: module.form(t, [r], kernelbench.compose(t, [r]), text),
    "kernels": lambda t, r, text: kernels.form(t, [r], kernelbench.compose(t, [r]), text),
    "flashinfer": lambda t, r, text: flashinfer.form(t, [r], kernelbench.compose(t, [r]), IO, text),
    "gpumode": lambda t, r, text: gpumode.form([r], kernelbench.compose(t, [r]), IO),
    "source": lambda t, r, text: source.form(t, [r], kernelbench.compose(t, [r])),
}


@pytest.fixture
def made(tiny: Template, make_record: MakeRecord) -> Callable[[str], Form]:
    return lambda name: MAKES[name](tiny, make_record(), tiny.problem.read_text())


def fine(probe: Path) -> None:
    """A verification that holds."""


def test_every_format_is_tried_here_and_known_to_the_command_line() -> None:
    from tuner.cli import files

    assert {*MAKES, "kernelbench"} == set(FORMATS) == set(files.FORMATS)


@pytest.mark.parametrize("name", MAKES)
def test_python_in_it_is_python(made: Callable[[str], Form], name: str) -> None:
    each = made(name)
    for path, text in each.files.items():
        if path.endswith(".py"):
            ast.parse(text)
    ast.parse(each.probe)


@pytest.mark.parametrize("name", MAKES)
def test_it_is_judged_by_way_of_its_own_files_before_it_is_there(
    made: Callable[[str], Form], name: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    output, each = tmp_path / "out", made(name)

    def verify(probe: Path) -> None:
        place = probe.parent / "out"
        assert str(place) in probe.read_text() and not output.exists()
        assert {path for path in each.files if not (place / path).is_file()} == set()
        raise TunerError("wrong")

    with pytest.raises(TunerError, match="wrong"):
        form.write_folder(output, each, [make_record()], verify, False)
    assert list(tmp_path.glob("*out*")) == []
    form.write_folder(output, each, [make_record()], fine, False)
    assert {str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()} == set(each.files)


def test_a_folder_that_is_there_is_left_alone(
    made: Callable[[str], Form], tmp_path: Path, make_record: MakeRecord
) -> None:
    with pytest.raises(kernelbench.ExportError, match="is there already"):
        form.write_folder(tmp_path, made("module"), [make_record()], fine, False)


def test_a_loser_is_refused(made: Callable[[str], Form], tmp_path: Path, make_record: MakeRecord) -> None:
    with pytest.raises(kernelbench.ExportError, match="--force"):
        form.write_folder(tmp_path / "out", made("module"), [make_record(eager_low=0.9)], fine, False)


def test_what_holds_one_winner_refuses_two(tiny: Template, make_record: MakeRecord) -> None:
    records = [make_record(shape=(n, 8)) for n in (4, 16)]
    candidate = kernelbench.compose(tiny, records)
    for make in (
        lambda: kernels.form(tiny, records, candidate, ""),
        lambda: flashinfer.form(tiny, records, candidate, IO, ""),
        lambda: source.form(tiny, records, candidate),
    ):
        with pytest.raises(kernelbench.ExportError, match="give the config one shape"):
            make()


def test_flashinfer_benchs_own_models_take_it(made: Callable[[str], Form]) -> None:
    data = pytest.importorskip("flashinfer_bench.data")
    texts = {path.split("/")[0]: text for path, text in made("flashinfer").files.items()}
    definition = data.Definition.model_validate_json(texts["definitions"])
    solution = data.Solution.model_validate_json(texts["solutions"])
    assert solution.definition == definition.name
    assert list(definition.inputs) == ["x", "weight"]
    assert definition.get_output_shapes({}) == [[4, 8]]


@pytest.mark.slow
def test_flashinfer_benchs_own_builder_runs_it(
    made: Callable[[str], Form], needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch, data = pytest.importorskip("torch"), pytest.importorskip("flashinfer_bench.data")
    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path / "fib"))
    texts = {path.split("/")[0]: text for path, text in made("flashinfer").files.items()}
    definition = data.Definition.model_validate_json(texts["definitions"])
    solution = data.Solution.model_validate_json(texts["solutions"])
    builders = pytest.importorskip("flashinfer_bench.compile")
    x, weight = torch.rand(4, 8), torch.rand(8)
    with torch.no_grad():
        out = builders.BuilderRegistry.get_instance().build(definition, solution)(x, weight)
    assert torch.equal(out, x * weight)


def test_flashinfer_reference_computes_the_problem(made: Callable[[str], Form]) -> None:
    torch, data = pytest.importorskip("torch"), pytest.importorskip("flashinfer_bench.data")
    texts = {path.split("/")[0]: text for path, text in made("flashinfer").files.items()}
    names: dict[str, object] = {}
    exec(data.Definition.model_validate_json(texts["definitions"]).reference, names)
    x, weight = torch.rand(4, 8), torch.rand(8)
    run = names["run"]
    assert callable(run)
    assert torch.equal(run(x, weight), x * weight)


def test_a_dtype_that_flashinfer_has_not_is_refused(tiny: Template, make_record: MakeRecord) -> None:
    io = Interface(inputs=(TensorSpec(shape=(4, 8), dtype="float64"),), state=(), outputs=IO.outputs)
    with pytest.raises(kernelbench.ExportError, match="no float64"):
        flashinfer.form(tiny, [make_record()], kernelbench.compose(tiny, [make_record()]), io, "")


def test_kernel_builders_build_names_files_that_are_there(made: Callable[[str], Form]) -> None:
    files = made("kernels").files
    build = tomllib.loads(files["build.toml"])
    assert build["general"] == {"name": "tiny", "version": 1, "license": "mit", "backends": ["cpu"]}
    (kernel,) = build["kernel"].values()
    assert {*build["torch"]["src"], *kernel["src"]} <= set(files) and kernel["backend"] == "cpu"
    assert "torch-ext/tiny/__init__.py" in files


def test_a_binding_hands_tensors_numbers_and_the_stream(made: Callable[[str], Form]) -> None:
    binding = made("kernels").files["torch-ext/torch_binding.cpp"]
    assert "op_scale(const std::optional<at::Tensor>& a0," in binding and "int64_t a3, int64_t a4)" in binding
    assert "scale(pointer(a0), pointer(a1), pointer(a2)," in binding and "nullptr)" in binding


def test_a_source_compiles_alone(made: Callable[[str], Form], tmp_path: Path, needs_compiler: None) -> None:
    ((name, text),) = made("source").files.items()
    (tmp_path / name).write_text(text)
    command = ["c++", "-std=c++17", "-shared", "-fPIC", "-o", str(tmp_path / "k.so"), str(tmp_path / name)]
    assert subprocess.run(command, check=False).returncode == 0
    assert "#define UNROLL 4" in text and "int scale(" in text


def test_a_source_that_the_winner_was_not_built_of_is_refused(tiny: Template, make_record: MakeRecord) -> None:
    other = make_record(knobs={"unroll": 8})
    with pytest.raises(kernelbench.ExportError, match="not what the winner was built of"):
        source.form(tiny, [changed(other)], render.candidate(tiny, [render.tuned_for(
            make_record().point, other.workload, other.environment)]))  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_function_is_of_a_model_in_the_dtype_that_the_winner_is_cast_to(dtype: Floating) -> None:
    torch = pytest.importorskip("torch")
    names: dict[str, Any] = {"ModelNew": lambda size: torch.nn.Linear(size, size), "torch": torch}
    exec(form.function(Workload(init=(8,), inputs=(TensorSpec(shape=(4, 8)),)).in_dtype(dtype)), names)
    wanted = getattr(torch, dtype)
    weight, bias, x = torch.ones(8, 8, dtype=wanted), torch.ones(8, dtype=wanted), torch.ones(4, 8, dtype=wanted)
    assert torch.equal(names["_called"]([x], [weight, bias]), torch.full((4, 8), 9.0, dtype=wanted))


def test_a_package_s_test_casts_both_models_and_allows_what_the_dtype_takes(
    tiny: Template, make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference stands for the kernel; the test runs as it is written."""
    record = make_record()
    short = changed(record, workload=record.workload.in_dtype("float16"))
    (tmp_path / "reference.py").write_text(tiny.problem.read_text())
    (tmp_path / "tiny_in_half.py").write_text("from reference import Model as ModelNew\n")
    test = tmp_path / "test_half.py"
    test.write_text(
        module.test_file("tiny_in_half", [short]).replace(
            "    with torch.no_grad()", "    assert model.weight.dtype == torch.float16\n    with torch.no_grad()"
        )
    )
    assert "(8,), 'float16', 0.01)" in test.read_text()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0


def test_parameters_whose_names_clash_get_names_of_their_own() -> None:
    state = tuple((name, TensorSpec(shape=(1,))) for name in ("x", "a.b", "a_b"))
    assert form.arguments(Interface(IO.inputs, state, ())) == (["x"], ["x_", "a_b", "a_b_"])


@pytest.mark.parametrize("name", ["flashinfer", "gpumode"])
@pytest.mark.parametrize(("size", "training", "refused"), [(8, True, ""), (9, True, "arguments"), (8, False, "mode")])
def test_a_function_is_asked_about_its_own_constructor_call_and_mode_alone(
    made: Callable[[str], Form], name: str, size: int, training: bool, refused: str, tmp_path: Path
) -> None:
    torch, each = pytest.importorskip("torch"), made(name)
    for path, text in each.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    probe: dict[str, Any] = {}
    exec(each.probe.replace(form.PLACE, str(tmp_path)), probe)
    called = "custom_kernel" if name == "gpumode" else "tuned"
    setattr(probe["exported"], called, lambda *given: "answered")
    model = probe["ModelNew"](size).train(training)
    if not refused:
        assert model(torch.ones(4, size)) == "answered"
        return
    with pytest.raises(RuntimeError, match=f"other {refused} than its own"):
        model(torch.ones(4, size))
