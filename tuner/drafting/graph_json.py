"""Graphs as JSON: how they come up from the worker that traced them."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, TypeAdapter

from tuner.drafting import graph
from tuner.drafting.graph import Graph, Node, Ref

_KINDS: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        graph.Input,
        graph.Parameter,
        graph.Constant,
        graph.Product,
        graph.Map,
        graph.Reduce,
        graph.Window,
        graph.Scan,
        graph.Gather,
        graph.View,
        graph.Library,
    )
}


_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _KINDS.items()}
_OUTPUTS = TypeAdapter(tuple[Ref, ...])
_UPDATES = TypeAdapter(tuple[tuple[str, Ref], ...])


def encode(made: Graph) -> str:
    """As text, for infinities have no other form in JSON. A node has its class's name as `node`."""
    nodes = [(type(node).__name__, node) for node in made.nodes]
    plain = {
        "nodes": [{"node": kind, **_ADAPTERS[kind].dump_python(node)} for kind, node in nodes],
        "outputs": [dataclasses.asdict(ref) for ref in made.outputs],
        "updates": [[path, dataclasses.asdict(ref)] for path, ref in made.updates],
    }
    return json.dumps(plain)


def decode(text: str | Graph) -> Graph:
    """The graph of a text. Raises ValueError for what is none."""
    if isinstance(text, Graph):
        return text
    try:
        plain = json.loads(text)
        nodes = tuple(_node(dict(one)) for one in plain["nodes"])
        outputs = _OUTPUTS.validate_python(plain["outputs"])
        updates = _UPDATES.validate_python(plain["updates"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no graph: {error}") from error
    return Graph(nodes, outputs, updates)


def _node(plain: dict[str, Any]) -> Node:
    kind = plain.pop("node")
    if kind == graph.Library.__name__:
        plain |= {name: _values(plain[name]) for name in ("arguments", "keywords")}
    found = _ADAPTERS[kind].validate_python(plain)
    assert isinstance(found, Node)
    return found


def _values(plain: Any) -> Any:
    """A Library's arguments, in which a Ref is one only by its fields."""
    if isinstance(plain, list):
        return tuple(_values(one) for one in plain)
    return Ref(**plain) if isinstance(plain, dict) else plain


StoredGraph = Annotated[Graph, PlainValidator(decode), PlainSerializer(encode, return_type=str)]
"""A graph as a field of an answer."""
