"""The knobs of a draft, and where they begin."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tuner.drafting import spaces
from tuner.drafting.graph import Graph, Ref
from tuner.drafting.implicit import own_plan
from tuner.drafting.plan import plan
from tuner.drafting.rewrite import free_biases, parted
from tuner.drafting.shorten import shortened


@pytest.mark.parametrize(
    ("channels", "elements", "turns"), [(8, "exactly", True), (8, "fewer", False), (4, "exactly", False)]
)
def test_a_large_input_is_turned_by_our_own_kernel_from_the_first(
    traced: Callable[..., Graph], monkeypatch: pytest.MonkeyPatch, channels: int, elements: str, turns: bool
) -> None:
    shape = (2, channels, 13, 14)
    monkeypatch.setattr(spaces, "TURNED", math.prod(shape) + (elements == "fewer"))
    layer = f"nn.Conv2d({channels}, 8, 3)"
    graph = parted(shortened(traced("return self.layer(x).tanh()", layer=layer, inputs=f"torch.rand{shape}")))
    (product,) = plan(graph).products
    made = plan(graph, last=[Ref(product.name)])
    space = spaces.product_space(product, made, "cuda", few_rows=False)
    assert space is not None
    assert dict(space.arguments).get("turn", False) is turns


@pytest.mark.parametrize(
    ("layer", "after", "family", "kept"),
    [
        ("nn.Conv2d(4, 8, 3)", ".tanh()", "map", False),
        ("nn.Conv2d(4, 8, 3)", ".amin(1)", "columns", False),
        ("nn.Conv2d(4, 8, 3)", ".tanh().mean((2, 3))", "rows", False),
        ("nn.ConvTranspose2d(4, 8, 3, 2)", ".tanh()", "map", False),
        ("nn.Conv2d(4, 8, 3)", ".cumsum(3)", None, True),
        ("nn.Conv2d(4, 200, 3)", ".amin(1)", None, True),
    ],
)
def test_what_follows_a_convolution_is_its_end_where_it_can_be(
    traced: Callable[..., Graph], layer: str, after: str, family: str | None, kept: bool
) -> None:
    text = f"return self.layer(x){after}"
    graph = parted(free_biases(shortened(traced(text, layer=layer, inputs="torch.rand(2, 4, 13, 14)"))))
    made = own_plan(graph)
    assert made is not None
    (owned,) = made.owned.values()
    assert (owned.end.family if owned.end else None, owned.kept) == (family, kept)


@pytest.mark.parametrize(
    "layer",
    [
        "nn.Conv2d(4, 8, 3, groups=2)",
        "nn.ConvTranspose2d(4, 8, 2, 3)",
        "nn.ConvTranspose2d(4, 8, 5, (1, 3))",
        "nn.Conv2d(4, 8, 13)",
    ],
)
def test_other_convolutions_stay_with_the_library(traced: Callable[..., Graph], layer: str) -> None:
    graph = parted(
        free_biases(shortened(traced("return self.layer(x)", layer=layer, inputs="torch.rand(2, 4, 16, 16)")))
    )
    assert own_plan(graph) is None
