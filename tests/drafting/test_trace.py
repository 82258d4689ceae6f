"""What a graph says of a problem: names, structure, buffers, and what no graph can hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.problems import write_problem

from tuner import problem
from tuner.drafting import lower
from tuner.drafting.compare import compare
from tuner.drafting.graph import Constant, Graph, Input, Library, Map, Parameter, Product, Reduce, Ref, Scan, View
from tuner.drafting.operation import Operation
from tuner.drafting.scalars import Scalar
from tuner.drafting.trace import trace
from tuner.errors import ProblemError, UnjudgeableError

Trace = Callable[..., Graph]


def names(graph: Graph) -> list[str]:
    """Of the nodes that compute something."""
    return [node.name for node in graph.nodes if not isinstance(node, Input | Parameter)]


# ---- names -------------------------------------------------------------------------------------------


def test_nodes_have_the_users_own_words(traced: Trace) -> None:
    layer = "nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))"
    graph = traced("return torch.relu(self.layer(x)) + 1", layer=layer, inputs="torch.randn(2, 3, 6, 6)")
    assert names(graph) == [
        "layer_0_conv2d",
        "layer_1_group_norm_weight_grouped",
        "layer_1_group_norm_bias_grouped",
        "layer_1_group_norm_groups",
        "layer_1_group_norm_moments",
        "layer_1_group_norm",
        "layer_1_group_norm_channels",
        "relu",
        "add",
    ]
    assert graph["layer_1_group_norm"].origin == "layer.1"


def test_an_operator_that_is_all_of_a_module_has_the_modules_name(traced: Trace) -> None:
    graph = traced("return self.layer(x).relu()", layer="nn.Linear(8, 4)")
    assert names(graph) == ["layer", "relu"]
    assert graph["layer_weight"] == Parameter("layer_weight", (4, 8), "float32", path="layer.weight")


def test_names_are_counted_without_gaps_and_words_of_c_from_one(traced: Trace) -> None:
    graph = traced("return torch.max(x * 2 * 1 * 3, 1)[0] / 2")
    assert names(graph) == ["mul", "mul_2", "max_1", "max_flat", "div_1"]


def test_names_are_the_same_each_time(traced: Trace) -> None:
    forward = "return F.cross_entropy(x, torch.argmax(x, 1)) + torch.cumsum(x, 1).mean()"
    assert traced(forward) == traced(forward)


# ---- structure ---------------------------------------------------------------------------------------


def test_a_value_used_twice_is_one_node(traced: Trace) -> None:
    graph = traced("y = self.layer(x)\nreturn y + y", layer="nn.Linear(8, 4)")
    added = graph["add"]
    assert isinstance(added, Map)
    assert added.operands == (Ref("layer"),)
    assert added.expression == Scalar.of("add", Scalar.operand(0), Scalar.operand(0))


def test_what_changes_nothing_leaves_no_node(traced: Trace) -> None:
    forward = "return F.dropout((x * 1).contiguous().clone().detach().view(16, 2, 4).reshape(16, 8), 0.0) + 0"
    graph = traced(forward)
    assert names(graph) == []
    assert graph.outputs == (Ref("x"),)


def test_what_is_not_returned_is_left_out_but_inputs_stay(traced: Trace) -> None:
    graph = traced("z = torch.exp(y)\nreturn x + 1", inputs="torch.rand(4, 4), torch.rand(4, 4)", arguments="x, y")
    assert [type(node) for node in graph.nodes] == [Input, Input, Map]


def test_a_mean_has_no_count_in_it(traced: Trace) -> None:
    graph = traced("return x.mean(dim=1)")
    reduction, view = graph.nodes[1:]
    assert isinstance(reduction, Reduce) and (reduction.monoid, reduction.axes, reduction.shape) == (
        "moments",
        (1,),
        (16, 1),
    )
    assert isinstance(view, View) and view.operand == Ref("mean", "mean") and view.batch


def test_views_of_views_are_one_and_expansion_is_the_maps(traced: Trace) -> None:
    graph = traced("return x.view(16, 2, 4).view(16, 4, 2) * x[:, :1].unsqueeze(2).expand(16, 4, 2)")
    assert [node.name for node in graph.nodes if isinstance(node, View)] == ["view", "slice_1", "unsqueeze"]
    multiplied = graph["mul"]
    assert isinstance(multiplied, Map) and multiplied.operands == (Ref("view"), Ref("unsqueeze"))


def test_a_scan_between_flips_runs_from_the_end(traced: Trace) -> None:
    graph = traced("return torch.cumsum(x.flip(1), 1).flip(1)")
    (scan,) = graph.nodes[1:]
    assert isinstance(scan, Scan) and scan.reverse and scan.operand == Ref("x")


def test_a_product_with_a_transposed_weight_is_linear(traced: Trace) -> None:
    graph = traced("return torch.matmul(x, self.layer.weight.T)", layer="nn.Linear(8, 4)")
    product = graph["matmul"]
    assert isinstance(product, Product) and (product.kind, product.weight) == ("linear", Ref("layer_weight"))


def test_tensors_of_one_number_made_in_forward_are_numbers(traced: Trace) -> None:
    graph = traced("return torch.min(x, torch.tensor(0.5, device=x.device)) * torch.ones(8) + torch.zeros_like(x)")
    assert names(graph) == ["min_1"]


def test_tensors_made_of_sizes_are_constants(traced: Trace) -> None:
    graph = traced("return x + torch.arange(8).float() + torch.tensor([1.0, 2.0] * 4)")
    calls = [node.call for node in graph.nodes if isinstance(node, Constant)]
    assert calls == [
        "torch.arange(8, dtype=torch.int64).to(torch.float32)",
        "torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0], dtype=torch.float32)",
    ]


def test_batch_norm_in_training_mode_changes_its_buffers(traced: Trace) -> None:
    graph = traced("return self.layer(x)", layer="nn.BatchNorm1d(8)")
    assert graph.updates == (
        ("layer.running_mean", Ref("layer_new_mean")),
        ("layer.running_var", Ref("layer_new_var")),
        ("layer.num_batches_tracked", Ref("layer_new_count")),
    )
    reduction = graph["layer_moments"]
    assert isinstance(reduction, Reduce) and reduction.axes == (0,)


def test_buffers_of_a_short_dtype_are_rounded_where_they_are_stored(traced: Trace) -> None:
    graph = traced("return self.layer(x)", layer="nn.BatchNorm1d(8).bfloat16()", inputs="torch.randn(16, 8).bfloat16()")
    assert [graph[ref].dtype for _, ref in graph.updates][:2] == ["bfloat16", "bfloat16"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_rms_norm_of_a_short_dtype_has_the_epsilon_of_float32(traced: Trace, dtype: str) -> None:
    given = f"torch.randn(16, 8).to(torch.{dtype})"
    graph = traced("return self.layer(x)", layer=f"nn.RMSNorm(8).to(torch.{dtype})", inputs=given)
    assert str(2.0**-23) in str(graph.nodes)


def test_an_operator_without_a_node_is_left_to_pytorch(traced: Trace) -> None:
    graph = traced("return torch.sort(x, dim=1)[0] * 2 + F.scaled_dot_product_attention(x, x, x)")
    left = [node for node in graph.nodes if isinstance(node, Library)]
    assert [(node.operator, node.result) for node in left] == [
        ("sort.default", 0),
        ("scaled_dot_product_attention.default", None),
    ]


def test_a_model_that_reads_values_is_traced_on_the_cpu(tmp_path: Path) -> None:
    layer = "nn.Linear(8, int(torch.ones(4).sum().item()))"
    loaded = write_problem(tmp_path, "return self.layer(x)", layer=layer)
    assert names(trace(loaded, problem.default_workload(loaded))) == ["layer"]


# ---- the comparison ----------------------------------------------------------------------------------


def test_a_wrong_lowering_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(op: Operation) -> object:
        return op.map(lambda x: Scalar.of("tanh", x), op.x)

    monkeypatch.setitem(lower.TABLE, "sigmoid", wrong)
    loaded = write_problem(tmp_path, "return torch.relu(torch.sigmoid(x) - 0.25)")
    workload = problem.default_workload(loaded)
    found = compare(loaded, workload, trace(loaded, workload))
    assert found.differing[0].startswith("sigmoid (sigmoid): off by")


def test_a_large_problem_is_compared_at_small_sizes(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return torch.softmax(x, 1)", inputs="torch.empty(4096, 8192)")
    workload = problem.default_workload(loaded)
    found = compare(loaded, workload, trace(loaded, workload))
    assert found.workload is not None and found.workload.shapes == ((5, 3),)
    assert found.differing == ()


def test_a_number_that_is_a_size_is_told(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return x.sum(1) / x.shape[1]")
    workload = problem.default_workload(loaded)
    assert compare(loaded, workload, trace(loaded, workload)).sized == ("div_1",)


def test_a_number_of_the_constructors_is_no_size(tmp_path: Path) -> None:
    parts = {"layer": "nn.Conv2d(n, n, 3, groups=n)", "inputs": "torch.rand(2, 64, 40, 40)"}
    path = write_problem(tmp_path, "return self.layer(x)", **parts).path
    text = path.read_text().replace("__init__(self):", "__init__(self, n):").replace("return []", "return [64]")
    path.write_text(text)
    loaded = problem.load(path)
    workload = problem.default_workload(loaded)
    found = compare(loaded, workload, trace(loaded, workload))
    assert found.workload is not None and found.workload.init == (16,)
    assert found.sized == ()


def test_sizes_are_halved_as_often_as_the_model_takes_it(tmp_path: Path) -> None:
    parts = {"layer": "nn.Conv2d(2, 3, 9, dilation=4)", "inputs": "torch.empty(8, 2, 1024, 1024)"}
    loaded = write_problem(tmp_path, "return self.layer(x)", **parts)
    workload = problem.default_workload(loaded)
    found = compare(loaded, workload, trace(loaded, workload))
    assert found.workload is not None and found.workload.shapes == ((5, 2, 64, 64),)


def test_inputs_are_those_that_the_model_takes(traced: Trace) -> None:
    traced("return F.binary_cross_entropy(x, x * x, reduction='none')")


def test_a_buffer_that_no_state_dict_has_is_one_all_the_same(tmp_path: Path) -> None:
    forward = "return x * self.layer.kept"
    layer = "nn.Identity()\n        self.layer.register_buffer('kept', torch.rand(8), persistent=False)"
    loaded = write_problem(tmp_path, forward, layer=layer)
    workload = problem.default_workload(loaded)
    graph = trace(loaded, workload)
    assert graph["layer_kept"] == Parameter("layer_kept", (8,), "float32", path="layer.kept", is_buffer=True)
    assert compare(loaded, workload, graph).differing == ()


# ---- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "layer", "words"),
    [
        ("return F.relu(self.layer(x))", "nn.Dropout(0.2)", "problem.py:12: layer: dropout is random"),
        ("return x + torch.randn_like(x)", "", "problem.py:12: randn_like is random"),
        ("return x if x.sum() > 0 else -x", "", "problem.py:12: forward goes one way or another by the values"),
        ("return x[x > 0.5]", "", "problem.py:12: what index gives is one number or size or another by the values"),
        ("return torch.unique(x), x", "", "problem.py:12: what unique2 gives is one number or size or another by the"),
        ("return x.sum().item()", "", "returned a float, not a plain tensor"),
        ("x += 1\nreturn x", "", "forward changes its input x in place"),
        ("return (x * 1j).imag", "", "problem.py:12: a complex number cannot be drafted; make it a tensor in the"),
        ("return self.layer(x)[0]", "nn.LSTM(8, 4, 2, dropout=0.5)", "problem.py:12: layer: lstm is random"),
    ],
)
def test_what_cannot_be_drafted_is_refused_in_a_line(forward: str, layer: str, words: str, tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, forward, layer=layer)
    with pytest.raises(ProblemError) as refused:
        trace(loaded, problem.default_workload(loaded))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("forward", ["return torch.ones_like(x) * 3", "return self.layer.bias.expand(len(x), -1) * 2"])
def test_what_no_input_changes_cannot_be_judged(forward: str, tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, forward, layer="nn.Linear(8, 4)")
    with pytest.raises(UnjudgeableError, match="its result does not depend on its inputs"):
        trace(loaded, problem.default_workload(loaded))


def test_a_lambda_s_line_is_named(tmp_path: Path) -> None:
    path = write_problem(tmp_path, "return x").path
    path.write_text(path.read_text() + "\n\nModel.forward = lambda self, x: x + torch.randn_like(x)\n")
    loaded = problem.load(path)
    with pytest.raises(UnjudgeableError, match=r"problem\.py:23: randn_like is random"):
        trace(loaded, problem.default_workload(loaded))


def test_what_is_random_cannot_be_judged(tmp_path: Path) -> None:
    loaded = write_problem(tmp_path, "return F.dropout(x)")
    with pytest.raises(UnjudgeableError, match="dropout is random"):
        trace(loaded, problem.default_workload(loaded))
