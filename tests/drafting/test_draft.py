"""Drafts on the CPU, at their default points, beside the model: at the traced sizes and at others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.problems import write_problem

from tuner import problem, template
from tuner.drafting.compare import compare
from tuner.drafting.trace import trace
from tuner.drafting.tracer import Traced
from tuner.drafting.write import draft
from tuner.errors import TemplateError
from tuner.space import Point
from tuner.template import render
from tuner.verification.operators import Everywhere, Operators, both, fallbacks, own_work

Pair = tuple[torch.nn.Module, torch.nn.Module]
Drafted = Callable[..., Pair]  # the fixture `drafted`


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    """The model of a problem, or of this forward, layer and inputs, and ModelNew of its draft for another dtype."""

    def make(forward: str | problem.Problem, dtype: str = "", **parts: str) -> Pair:
        loaded = write_problem(tmp_path, f"return {forward}", **parts) if isinstance(forward, str) else forward
        workload = problem.default_workload(loaded)
        graph = trace(loaded, workload)
        found = compare(loaded, workload, graph)
        made = draft(
            "drafted", Traced(graph, found.workload, found.differing, found.sized), workload, loaded.path.read_text()
        )
        folder = tmp_path / "drafted"
        folder.mkdir()
        for name, text in {**made.files, "problem.py": loaded.path.read_text()}.items():
            (folder / name).write_text(text)
        loaded_template = template.load(folder)
        variant = loaded_template.variant("fused_cpu")
        point = Point(variant.name, tuple((knob.name, knob.default) for knob in variant.knobs))
        tuned = render.Tuned(point, workload.shapes, workload.dtype, "Test CPU", "match", workload.each_dtype)
        if dtype:
            tuned = dataclasses.replace(tuned, dtype=dtype)
        names: dict[str, Any] = {}
        exec(render.candidate(loaded_template, [tuned]).text, names)
        models = (loaded.model(*workload.init), names["ModelNew"](*workload.init))
        models[1].load_state_dict(models[0].state_dict())
        return models

    return make


def same(pair: Pair, *inputs: object) -> bool:
    """Whether both give the same results, dtypes included."""
    model, new = pair
    with torch.no_grad():
        found, wanted = new(*inputs), model(*inputs)
    several = (found, wanted) if isinstance(wanted, tuple) else ((found,), (wanted,))
    for mine, theirs in zip(*several, strict=True):
        torch.testing.assert_close(mine, theirs)
    return True


def test_a_triangle_is_computed_from_places_at_any_size(drafted: Drafted) -> None:
    pair = drafted("torch.triu(torch.matmul(x, x))", inputs="torch.randn(40, 40)")
    assert same(pair, torch.randn(40, 40)) and same(pair, torch.randn(53, 53))


@pytest.mark.parametrize(
    "forward",
    [
        "F.gelu(self.layer(x)) * 0.1",
        "torch.cumsum(F.layer_norm(x, (40,)).softmax(0), 1)",
        "(lambda v, i: (v, i))(*torch.max(F.mish(x) + 0.3, dim=1))",
        "F.avg_pool1d(x[:, None], 3).std((1, 2)) + torch.logsumexp(x, 1)",
    ],
)
def test_a_draft_in_float64_computes_in_double(forward: str, drafted: Drafted) -> None:
    x = torch.randn(16, 40, dtype=torch.float64)
    made = "torch.randn(16, 40, dtype=torch.float64)"
    model, new = drafted(forward, layer="nn.Linear(40, 24).double()", inputs=made)
    with torch.no_grad():
        torch.testing.assert_close(new.double()(x), model(x), rtol=1e-12, atol=1e-12)


def test_a_diagonal_matrix_is_as_large_as_its_vector_is_long(drafted: Drafted) -> None:
    pair = drafted("torch.diag(x) @ y", arguments="x, y", inputs="torch.randn(40), torch.randn(40, 24)")
    assert same(pair, torch.randn(40), torch.randn(40, 24)) and same(pair, torch.randn(53), torch.randn(53, 7))


@pytest.mark.parametrize("axis", [0, 1])
def test_totals_behind_what_they_begin_with_are_one_scan(drafted: Drafted, axis: int) -> None:
    totals = f"torch.cumsum(x.narrow({axis}, 0, x.size({axis}) - 1), dim={axis})"
    pair = drafted(f"torch.cat((torch.zeros_like(x.select({axis}, 0).unsqueeze({axis})), {totals}), dim={axis})")
    assert same(pair, torch.randn(16, 8)) and same(pair, torch.randn(11, 9))


def test_a_slice_refuses_other_sizes_of_what_it_cuts(drafted: Drafted) -> None:
    pair = drafted("torch.relu(x[:, ::2] + x[:, 1::2])")
    assert same(pair, torch.randn(16, 8)) and same(pair, torch.randn(5, 8))
    with pytest.raises(RuntimeError, match="is drafted for a size of 8, not 10"):
        pair[1](torch.randn(16, 10))


@pytest.mark.parametrize(
    "pool",
    [
        "max_pool2d(x, 3, 2, 1", "avg_pool2d(x, 3, 2", "avg_pool2d(x, 3, 2, 1, count_include_pad=False",
        "avg_pool2d(x, 3, 2, 1, divisor_override=5", "avg_pool2d(x, 3, 2, 1",
    ],
)  # fmt: skip
def test_windows_beyond_the_end_are_there_at_sizes_that_have_them(drafted: Drafted, pool: str) -> None:
    pair = drafted(f"F.{pool}, ceil_mode=True) * 2", inputs="torch.randn(2, 3, 11, 11)")
    assert same(pair, torch.randn(2, 3, 11, 11)) and same(pair, torch.randn(2, 3, 12, 14))


def test_adaptive_pooling_refuses_other_planes(drafted: Drafted) -> None:
    pair = drafted("F.adaptive_avg_pool2d(x, (7, 5)) * 2", inputs="torch.randn(2, 3, 14, 20)")
    assert same(pair, torch.randn(4, 3, 14, 20))
    with pytest.raises(RuntimeError, match=r"pools planes of \(14, 20\) alone"):
        pair[1](torch.randn(2, 3, 14, 30))


def test_values_and_indices_are_results_of_their_own_types(drafted: Drafted) -> None:
    assert same(drafted("(lambda v, i: (v, i))(*torch.max(x, dim=1))"), torch.randn(16, 8))


def test_truth_values_and_integers_are_returned_as_such(drafted: Drafted) -> None:
    assert same(drafted("((x * 10).to(torch.int32), torch.any(x > 1, dim=1))"), torch.randn(16, 8))


def test_a_result_in_another_order_of_dimensions(drafted: Drafted) -> None:
    pair = drafted("torch.tanh(x).permute(0, 2, 1)", inputs="torch.randn(5, 13, 7)")
    assert same(pair, torch.randn(4, 13, 9))


def test_results_that_are_given_values_are_in_memory_of_their_own(drafted: Drafted) -> None:
    """A caller that writes into an input, or a step of an optimizer, changes no result that is there already."""
    model, new = drafted("(x.t().contiguous(), x.clone(), self.layer.weight.t(), x * 2)", layer="nn.Linear(40, 16)")
    x = torch.randn(16, 40)
    assert same((model, new), x)
    given = {tensor.untyped_storage().data_ptr() for tensor in (x, *new.parameters())}
    with torch.no_grad():
        results = new(x)
    assert not given & {result.untyped_storage().data_ptr() for result in results}


def test_modules_of_a_list_are_reached(drafted: Drafted) -> None:
    pair = drafted("self.layer(x) * 2", layer="nn.Sequential(nn.PReLU(), nn.PReLU())")
    assert same(pair, torch.randn(16, 8))


def test_a_forward_that_is_inherited(drafted: Drafted, tmp_path: Path) -> None:
    path = write_problem(tmp_path, "return self.layer(x).sigmoid()", layer="nn.Linear(8, 4)").path
    text = path.read_text().replace("class Model(nn.Module)", "class Base(nn.Module)")
    path.write_text(f"{text}\n\nclass Model(Base):\n    pass\n")
    assert same(drafted(problem.load(path)), torch.randn(16, 8))


def test_what_is_found_of_a_row_is_kept_in_float(drafted: Drafted) -> None:
    layer = "nn.LayerNorm(8)"
    model, new = drafted(
        "F.max_pool2d(self.layer(x), 2)", dtype="float16", layer=layer, inputs="torch.randn(2, 3, 6, 8)"
    )
    x = (torch.randn(2, 3, 6, 8) + 100).half()
    with torch.no_grad():
        found, wanted = new.half()(x), model.double()(x.double())
    torch.testing.assert_close(found.double(), wanted, atol=4e-3, rtol=0)


@pytest.mark.parametrize("dtype", ["torch.bfloat16", "x.dtype"])
def test_what_is_widened_may_be_narrowed_again(drafted: Drafted, dtype: str) -> None:
    x = torch.randn(16, 8).bfloat16()
    assert same(drafted(f"x.float().sigmoid().to({dtype})", inputs="torch.randn(16, 8).bfloat16()"), x)


@pytest.mark.parametrize(("forward", "dtype"), [("x.double() * 2", "float32"), ("x.float().relu()", "float64")])
def test_what_no_kernel_computes_has_the_dtype_that_it_is_cast_to(drafted: Drafted, forward: str, dtype: str) -> None:
    inputs = f"torch.randn(16, 8, dtype=torch.{dtype})"
    assert same(drafted(forward, inputs=inputs), torch.randn(16, 8, dtype=getattr(torch, dtype)))


@pytest.mark.parametrize(
    ("forward", "inputs", "says"),
    [
        (
            "x.float().relu()",
            "torch.randn(16, 8).bfloat16()",
            "relu is of float32 beside inputs of bfloat16; a draft's",
        ),
        ("x.float().exp() @ torch.ones(8, 4)", "torch.randn(16, 8).half()", "exp_1 is of float32 beside inputs of"),
        ("self.layer(x)", "torch.randint(9, (16, 8))", "inputs are int64; a draft wants one of float16, bfloat16"),
    ],
)
def test_dtypes_that_no_draft_holds_are_refused(drafted: Drafted, forward: str, inputs: str, says: str) -> None:
    with pytest.raises(TemplateError, match=f"^{says}"):
        drafted(forward, inputs=inputs, layer="nn.Embedding(9, 4)")


@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("options", ["", ", is_causal=True", ", attn_mask=torch.relu(x[0, 0])"])
def test_attention_may_be_computed_by_what_it_is_left_to(
    drafted: Drafted, tmp_path: Path, options: str, size: int
) -> None:
    _, new = drafted(f"F.scaled_dot_product_attention(x, x, x{options})", inputs="torch.randn(2, 3, 8, 8)")
    x = torch.randn(2, 3, size, size)
    with torch.no_grad(), Operators() as seen:
        new(x)
    leaves = template.load(tmp_path / "drafted").variant("fused_cpu").leaves
    assert own_work(fallbacks(seen.work, 1), leaves).ok


@pytest.mark.parametrize(
    ("forward", "layer"),
    [
        ("torch.fft.irfft(torch.fft.fft(x).abs()) + 1", ""),
        ("F.pad(x, (2, 3), mode='reflect') * 2", ""),
        ("torch.cdist(x, x) * 2", ""),
        ("self.layer(x)[0] * 2", "nn.LSTM(32, 8, batch_first=True)"),
        ("self.layer(x)[0] * 2", "nn.GRU(32, 8)"),
    ],
)
def test_what_an_operator_calls_is_left_to_pytorch_with_it(
    drafted: Drafted, tmp_path: Path, forward: str, layer: str
) -> None:
    pair = drafted(forward, layer=layer, inputs="torch.randn(2, 32, 32)")
    x = torch.randn(2, 32, 32)
    assert same(pair, x)
    with torch.no_grad(), Operators() as seen, Everywhere() as traced:
        pair[1](x)
    leaves = template.load(tmp_path / "drafted").variant("fused_cpu").leaves
    assert own_work(fallbacks(both(seen.work, traced.work), x.numel()), leaves).ok


@pytest.mark.parametrize("shape", [(), (1, 1)])
def test_a_map_of_one_element(drafted: Drafted, shape: tuple[int, ...]) -> None:
    assert same(drafted("torch.tanh(x) * x", inputs=f"torch.randn({shape})"), torch.randn(shape))


def test_a_dimension_that_its_parts_do_not_divide_is_refused(drafted: Drafted) -> None:
    pair = drafted("x.view(x.size(0), 3, -1).softmax(1)", inputs="torch.randn(4, 12)")
    assert same(pair, torch.randn(4, 12)) and same(pair, torch.randn(4, 15))
    with pytest.raises(RuntimeError, match="takes features in multiples of 3, not 13"):
        pair[1](torch.randn(4, 13))


@pytest.mark.parametrize(
    ("layer", "other"),
    [("nn.Conv2d(3, 4, 3, padding=1)", (2, 4, 1, 6)), ("nn.Conv2d(3, 4, 3, padding=1)", (1, 4, 6, 6))],
)
def test_a_product_and_an_input_that_would_be_broadcast_are_refused(
    drafted: Drafted, layer: str, other: tuple[int, ...]
) -> None:
    sizes = "torch.randn(2, 3, 6, 6), torch.randn(2, 4, 6, 6)"
    pair = drafted("torch.relu(self.layer(x) + y)", layer=layer, arguments="x, y", inputs=sizes)
    assert same(pair, torch.randn(3, 3, 5, 5), torch.randn(3, 4, 5, 5))
    with pytest.raises(RuntimeError, match=r"does not broadcast|stands where"):
        pair[1](torch.randn(2, 3, 6, 6), torch.randn(other))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "of", ["F.cross_entropy(x, y)", "F.log_softmax(x, 1)", "torch.logsumexp(x, 1)", "x.softmax(1)"]
)
def test_what_is_not_finite_comes_through_as_pytorch_has_it(drafted: Drafted, of: str, value: float) -> None:
    two = "torch.randn(4, 40), torch.randint(0, 40, (4,))"
    pair = drafted(of, **({"arguments": "x, y", "inputs": two} if "y" in of else {"inputs": "torch.randn(4, 40)"}))
    for where in (slice(3, 5), slice(0, 40)):
        x = torch.randn(4, 40)
        x[1, where] = value
        found, wanted = (model(x, *([torch.tensor([0, 7, 1, 39])] if "y" in of else [])) for model in pair[::-1])
        torch.testing.assert_close(found, wanted, equal_nan=True)


@pytest.mark.parametrize("at", [0, 5, 15])
def test_a_running_mean_of_an_infinite_value_is_infinite(drafted: Drafted, at: int) -> None:
    pair = drafted("self.layer(x)", layer="nn.BatchNorm1d(8)")
    x = torch.randn(16, 8)
    x[at] = torch.tensor([math.inf, -math.inf] * 4)
    for model in pair:
        model(x)
    (wanted, found) = (model.state_dict() for model in pair)
    torch.testing.assert_close(found["layer.running_mean"], wanted["layer.running_mean"])
    torch.testing.assert_close(found["layer.running_var"], wanted["layer.running_var"], equal_nan=True)


def test_places_that_a_divider_does_not_reach_are_refused(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return (x + x.mean(0)).softmax(1)", inputs="torch.randn(2, 3, 5)")
    workload = problem.default_workload(loaded)
    made = draft("drafted", Traced(trace(loaded, workload), None, (), ()), workload, loaded.path.read_text())
    assert "if (outer * inner > INT_MAX || length > INT_MAX) return 1;" in made.files["fused.hpp"]
