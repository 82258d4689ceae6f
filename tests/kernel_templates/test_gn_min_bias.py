"""split_cuda keeps the weight's pieces between calls: what a later change of the weight must find."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from tuner import problem, template
from tuner.space import Point
from tuner.template import render

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ROWS = 1024
INIT: list[Any] = [2048, 2048, 128, (1, 2048, 1, 1)]
BUDGET = 8.0


def candidate(folder: Path, **knobs: Any) -> Any:
    """The module of a rendered split_cuda candidate with these knobs, the others at their defaults."""
    found = template.load(template.shipped_folder() / "gn_min_bias")
    device = {"cores": 132, "shared_memory_per_block": 232448, "capability": (9, 0), "device": "cuda"}
    space = found.space("cuda", found.facts(INIT, [(ROWS, INIT[0])], device), ["split_cuda"])
    point = Point("split_cuda", tuple({**space.branch("split_cuda").default.knobs, **knobs}.items()))
    assert space.has(point)
    tuned = render.Tuned(point, ((ROWS, INIT[0]),), "float32", "test", "match")
    path = folder / "model_new.py"
    path.write_text(render.candidate(found, [tuned]).text)
    return problem.execute(path, f"candidate_{'_'.join(map(str, knobs.values()))}")


def reference() -> Any:
    torch.manual_seed(0)
    return problem.load(template.shipped_folder() / "gn_min_bias" / "problem.py").model(*INIT).cuda()


def inputs() -> Any:
    """Uniform rows, but in one a value towers over the others, and one spans many magnitudes."""
    x = torch.rand(ROWS, INIT[0])
    x[2, 5] = 500.0
    x[3] = (3 * torch.randn(INIT[0])).exp()
    return x.cuda()


def error_ratio(model: Any, twin: Any, x: Any) -> float:
    """The candidate's largest error over the reference's own, both with the candidate's parameters."""
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        oracle = copy.deepcopy(twin).double()(x.double())
        own = (twin(x) - oracle).abs().max() + 0.5 * torch.finfo(x.dtype).eps * oracle.abs().max()
        return float(((model(x) - oracle).abs().max() / own).item())


def in_place(model: Any) -> None:
    with torch.no_grad():
        model.gemm.weight[3].mul_(2)


def through_data(model: Any) -> None:
    model.gemm.weight.data.mul_(1.5)


def other_data(model: Any) -> None:
    model.gemm.weight.data = torch.randn_like(model.gemm.weight) * 0.02


def other_parameter(model: Any) -> None:
    model.gemm.weight = torch.nn.Parameter(torch.randn_like(model.gemm.weight) * 0.02)


def other_strides(model: Any) -> None:
    model.gemm.weight.data = (torch.randn_like(model.gemm.weight.t()) * 0.02).t()


def loaded(model: Any) -> None:
    model.load_state_dict({**model.state_dict(), "gemm.weight": torch.randn_like(model.gemm.weight)})


def uneven_rows(model: Any) -> None:
    with torch.no_grad():
        model.gemm.weight[1] = 0
        model.gemm.weight[2, 7] = 1e4


CHANGES = [in_place, through_data, other_data, other_parameter, other_strides, loaded, uneven_rows]


@pytest.mark.parametrize("weights", ["checked", "fresh"])
@pytest.mark.parametrize("scheme", ["fp16_int8", "fp16x3"])
def test_a_changed_weight_is_honoured(tmp_path: Path, scheme: str, weights: str) -> None:
    twin, x = reference(), inputs()
    model = candidate(tmp_path, scheme=scheme, weights=weights).ModelNew(*INIT).cuda()
    for change in [lambda model: None, *CHANGES, in_place]:
        change(model)
        for _ in range(2):
            assert error_ratio(model, twin, x) <= BUDGET
    other = copy.deepcopy(model)
    for each in (other, model):
        in_place(each)
        assert error_ratio(each, twin, x) <= BUDGET


def test_a_captured_graph_follows_the_weight(tmp_path: Path) -> None:
    twin, x = reference(), inputs()
    model = candidate(tmp_path, scheme="fp16_int8", weights="checked").ModelNew(*INIT).cuda()
    with torch.no_grad():
        model(x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = model(x)
        in_place(model)
        graph.replay()
        expected = model(x)
    assert torch.equal(y, expected)
    assert error_ratio(model, twin, x) <= BUDGET


def test_in_inference_mode(tmp_path: Path) -> None:
    x = inputs()
    with torch.inference_mode():
        twin = reference()
        model = candidate(tmp_path, scheme="fp16_int8", weights="checked").ModelNew(*INIT).cuda()
        model.load_state_dict(twin.state_dict())
        before = model(x)
        model.gemm.weight.mul_(-1)
        assert not torch.equal(model(x), before)
        assert math.isfinite(before.sum().item())


def test_the_cache_is_no_part_of_the_model(tmp_path: Path) -> None:
    model = candidate(tmp_path, scheme="fp16_int8", weights="checked").ModelNew(*INIT).cuda()
    with torch.no_grad():
        model(inputs())
    assert list(model.state_dict()) == list(reference().state_dict())
    assert copy.deepcopy(model).split_cuda_cache.pieces is None
