"""The knobs of a draft, and where they begin."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from tuner.drafting import spaces
from tuner.drafting.graph import Graph, Ref
from tuner.drafting.plan import plan
from tuner.drafting.rewrite import parted
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
