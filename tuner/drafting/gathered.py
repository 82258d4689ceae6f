"""Which poolings are computed where their results are reduced, so that these are never written."""

from __future__ import annotations

import math
from collections.abc import Container

from tuner.drafting.graph import Graph, Map, Reduce, Ref, View, Window

SMALL = 16  # what a pooling shrinks a tensor by, from beyond which its result costs little to write and to read again


def is_gathered(graph: Graph, ref: Ref, kept: Container[Ref] = ()) -> bool:
    """Whether `ref` is a pooling of windows that do not overlap, and one reduction is all that reads it.

    `kept` are results that are written whatever they are.
    """
    node = graph[ref]
    if not isinstance(node, Window) or math.prod(node.stride) > SMALL:
        return False
    if any(size > step for size, step in zip(node.kernel, node.stride, strict=True)):
        return False
    uses, pending, reduces = graph.uses(), [ref], set[str]()
    outside = {*graph.outputs, *(one for _, one in graph.updates)}
    while pending:
        one = pending.pop()
        if one in outside or one in kept:
            return False
        for use in uses.get(one, []):
            if isinstance(use, Map | View):
                pending.append(Ref(use.name))
            elif isinstance(use, Reduce):
                reduces.add(use.name)
            else:
                return False
    return len(reduces) == 1
