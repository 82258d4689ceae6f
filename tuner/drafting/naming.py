"""Names in the emitted text: of sizes, of values, of structs. Each is used once in its scope."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from tuner.drafting.axes import Axis
from tuner.drafting.builder import _TAKEN, identifier

RESERVED = frozenset({
    "row", "r", "i", "in", "out", "item", "found", "state", "f", "input", "result", "total", "results", "totals",
    "map", "lift", "close", "at", "plane", "before", "after", "pooled", "running", "stream", "workspace", "count",
    "fn", "kernel", "model", "torch", "knobs", "segments", "rows", "length", "outer", "inner", "Index", "Row", "Item",
    "Total", "aligned", "depth", "height", "width", "out_depth", "out_height", "out_width",
})  # fmt: skip


@dataclass
class Names:
    """Free names of one scope: the same thing gets the same name. `reserved` are words of what surrounds it."""

    taken: set[str] = field(default_factory=set)
    reserved: frozenset[str] = RESERVED
    known: dict[Hashable, str] = field(default_factory=dict)

    def of(self, thing: Hashable, wanted: str) -> str:
        if thing not in self.known:
            self.known[thing] = self.free(wanted)
        return self.known[thing]

    def free(self, wanted: str) -> str:
        base = identifier(wanted)
        name = base if base not in self.reserved | _TAKEN else f"{base}_"
        number = 2
        while name in self.taken:
            name, number = f"{base}_{number}", number + 1
        self.taken.add(name)
        return name


def camel(words: str) -> str:
    """`group_norm` as GroupNorm."""
    return "".join(word.capitalize() for word in words.split("_") if word) or "Fused"


def product_word(axes: Sequence[Axis]) -> str:
    """What a number of elements along these axes is called."""
    words = [axis.name for axis in axes]
    if not words:
        return "one"
    if len(words) == 1:
        return words[0]
    if words in (["height", "width"], ["depth", "height", "width"]):
        return "positions"
    if words == ["groups", "group_channels"]:
        return "channels"
    if words == ["groups", "group_features"]:
        return "features"
    if words[-2:] == ["height", "width"]:
        cut = -3 if words[-3:] == ["depth", "height", "width"] else -2
        return "_".join([*words[:cut], "positions"])
    return "_".join(words)


def listed(words: Iterable[str]) -> str:
    return ", ".join(words)
