"""The development problems: each is built, exported and sized as the table says, and again at its reduced size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from problems import reduced

from tuner.problem.file import execute

pytestmark = pytest.mark.filterwarnings(
    "ignore:input's size at dim=1 does not match"
)  # of level2/28, as people write it

# Name -> operators in order, shape of the result, MB of inputs, parameters and result.
WANTED = {
    "level1/1": ("matmul", "4096x4096", 201),
    "level1/8": ("matmul", "8205x5921", 361),
    "level1/16": ("numpy_T > matmul", "2048x4096", 235),
    "level1/21": ("sigmoid", "4096x393216", 12885),
    "level1/23": ("softmax", "4096x393216", 12885),
    "level1/25": ("sigmoid > mul", "4096x393216", 12885),
    "level1/35": ("group_norm", "112x64x512x512", 15032),
    "level1/36": ("pow > mean > add > sqrt > div", "112x64x512x512", 15032),
    "level1/38": ("abs > mean > div", "32768x65535", 17180),
    "level1/40": ("layer_norm", "16x64x256x256", 570),
    "level1/42": ("max_pool2d", "32x64x511x511", 4287),
    "level1/45": ("avg_pool2d", "16x64x186x186", 17322),
    "level1/47": ("sum", "128x1x4095", 8590),
    "level1/51": ("argmax", "128x4095", 8592),
    "level1/89": ("cumsum", "32768x32768", 8590),
    "level1/94": ("sub > pow > mean", "", 8590),
    "level1/95": ("cross_entropy_loss", "", 537),
    "level1/98": ("log > kl_div > div", "", 2147),
    "level2/1": ("conv2d > relu > add", "128x128x126x126", 1578),
    "level2/7": ("conv3d > relu > leaky_relu > gelu > sigmoid > add", "64x32x30x62x62", 1213),
    "level2/9": ("linear > sub > mul > relu", "1024x8192", 336),
    "level2/10": ("conv_transpose2d > max_pool2d > hardtanh > mean > tanh", "128x64x1x1", 2148),
    "level2/14": ("numpy_T > matmul > div > sum > mul", "1024x1", 302),
    "level2/15": ("conv_transpose3d > batch_norm > mean > sub", "16x32x31x63x63", 269),
    "level2/16": ("conv_transpose2d > mish > add > hardtanh > mul", "128x64x256x256", 2685),
    "level2/17": ("conv2d > instance_norm > div", "128x128x126x126", 1578),
    "level2/19": ("conv_transpose2d > gelu > group_norm", "128x64x258x258", 4329),
    "level2/22": ("linear > mul > add > clamp > logsumexp > mish > mul", "1024x1", 302),
    "level2/24": ("conv3d > min > softmax", "128x24x30x30", 49),
    "level2/25": ("conv2d > min > tanh > tanh", "128x1x254x254", 570),
    "level2/26": ("conv_transpose3d > add > hardswish > mul", "128x64x32x32x32", 2215),
    "level2/28": ("linear > unsqueeze > unsqueeze > instance_norm > squeeze > squeeze > add > mul", "1024x8192", 369),
    "level2/30": ("linear > group_norm > hardtanh", "1024x8192", 336),
    "level2/34": ("conv_transpose3d > layer_norm > gelu > mul", "32x64x32x64x64", 1141),
    "level2/38": ("avg_pool3d > conv_transpose3d > clamp > view > softmax > view > mul", "32x64x32x64x64", 1611),
    "level2/41": ("linear > batch_norm > gelu > relu", "16384x4096", 604),
    "level2/43": ("conv3d > max_pool3d > logsumexp > relu", "4x1x16x64x64", 270),
    "level2/46": ("conv2d > sub > tanh > sub > avg_pool2d", "128x128x63x63", 797),
    "level2/52": ("conv2d > softplus > tanh > multiply > batch_norm", "64x128x126x126", 789),
    "level2/57": ("conv2d > relu > add > div > clamp > mul", "128x64x126x126", 587),
    "level2/59": ("linear > sigmoid > mul > mul", "128x32768", 4329),
    "level2/67": ("conv2d > gelu > adaptive_avg_pool2d > squeeze > squeeze", "128x64", 268),
    "level2/74": ("conv_transpose3d > leaky_relu > mul > leaky_relu > max_pool3d", "16x32x16x32x32", 50),
    "level2/79": ("conv3d > mul > instance_norm > clamp > mul > max", "128x14x30x30", 32),
    "level2/85": ("conv2d > group_norm > mul > max_pool2d > clamp", "128x64x31x31", 99),
    "level2/91": ("conv_transpose2d > softmax > add > mul > sigmoid", "128x128x129x129", 1225),
    "level2/92": ("conv2d > group_norm > tanh > hardswish > add > logsumexp", "128x1x126x126", 75),
    "level2/96": ("conv_transpose3d > mul > max_pool3d > adaptive_avg_pool3d > clamp", "128x16x1x1x1", 25),
    "level2/99": ("linear > gelu > softmax", "1024x8192", 336),
}
PATHS = {reduced.key(path): path for path in reduced.PROBLEMS.glob("level*/*.py")}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {reduced.key(path): path for path in reduced.write(tmp_path_factory.mktemp("reduced"))}


def test_each_problem_of_the_table_has_a_file_and_a_reduced_size() -> None:
    assert set(PATHS) == set(WANTED) == set(reduced.REDUCED)


def test_a_constant_that_a_file_lacks_is_no_silent_full_size(tmp_path: Path) -> None:
    path = tmp_path / "level1" / "1_product.py"
    path.parent.mkdir()
    path.write_text("m = 4096\n")
    with pytest.raises(ValueError, match="0 lines"):
        reduced.resized(path)


@pytest.mark.parametrize("name", sorted(WANTED))
def test_the_problem_is_the_tables(name: str) -> None:
    operators, shape, megabytes = _exported(PATHS[name])
    assert (operators, shape, round(megabytes)) == WANTED[name]


@pytest.mark.parametrize("name", sorted(WANTED))
def test_the_reduced_problem_has_the_same_operators_and_is_small(name: str, small: dict[str, Path]) -> None:
    operators, shape, megabytes = _exported(small[name])
    assert operators == WANTED[name][0]
    assert shape.count("x") == WANTED[name][1].count("x")
    assert megabytes < 12


def _exported(path: Path) -> tuple[str, str, float]:
    """Operators in order, shape of the result, MB of inputs, parameters and result."""
    module = execute(path, f"problem_{path.stem}")
    with torch.device("meta"):
        model, inputs = module.Model(*module.get_init_inputs()), module.get_inputs()
        graph = torch.export.export(model, tuple(inputs), strict=False).graph
        result = model(*inputs)
    names = [
        str(node.target).split(".")[1]
        for node in graph.nodes
        if node.op == "call_function" and "aten" in str(node.target)
    ]
    operators = " > ".join(name for name in names if name != "add_")  # of BatchNorm's counter
    tensors = [*inputs, *model.parameters(), result]
    return operators, "x".join(map(str, result.shape)), sum(t.numel() * t.element_size() for t in tensors) / 1e6
