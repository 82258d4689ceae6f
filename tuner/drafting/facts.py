"""The function `axes` of a drafted template: sizes of a workload as plain Python, for constraints."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.drafting.axes import Axis
from tuner.drafting.graph import Input, Parameter, Product, Ref, Window
from tuner.drafting.naming import Names
from tuner.drafting.plan import Plan
from tuner.drafting.region import Kernel
from tuner.drafting.sizes import Sizes, convolved, pooled
from tuner.drafting.spaces import Space
from tuner.errors import TemplateError

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


Found = tuple[Plan, Kernel | Product, Space]


def axes_function(found: Sequence[Found], dtype: str) -> str:
    """The text of `axes(init, shapes)`: facts of every family and product under its prefix, of one plan or more."""
    if dtype not in BYTES:
        raise TemplateError(f"a draft for {dtype} is not known; a problem wants one of {', '.join(BYTES)}")
    plans = list({id(plan): plan for plan, _, _ in found}.values())
    names = Names({"init", "shapes"}, frozenset())
    facts, lines = {"elementsize": str(BYTES[dtype])}, list[str]()
    for plan in plans:
        one = _Facts(plan, names, lines)
        for of, step, space in found:
            if of is plan:
                facts |= {f"{space.prefix}{name}": text for name, text in one.facts(step).items()}
    entries = [f'"{name}": {value}' for name, value in facts.items()]
    last = f"    return {{{', '.join(entries)}}}"
    body = "\n".join(f"    {line}" for line in lines)
    if len(last) > 120:
        last = "    return {\n" + "".join(f"        {entry},\n" for entry in entries) + "    }"
    return f"def axes(init, shapes):\n{body}\n{last}\n"


class _Facts:
    """Facts of one plan. Several share the lines that say what sizes are."""

    def __init__(self, plan: Plan, names: Names, lines: list[str]) -> None:
        self.plan, self.graph = plan, plan.graph
        self.sizes = Sizes(plan.graph, plan.layouts, names, lines)
        inputs = sorted((n for n in self.graph.nodes if isinstance(n, Input)), key=lambda node: node.index)
        shapes = [names.of(("shape", node.name), f"{node.name}_shape") for node in inputs]
        if not lines:
            lines.append(f"({shapes[0]},) = shapes" if len(shapes) == 1 else f"{', '.join(shapes)} = shapes")
        for node, name in zip(inputs, shapes, strict=True):
            if node.shape:
                self.sizes.named(Ref(node.name), name, "input")
        for each in self.graph.nodes:
            self._learn(each)

    def _learn(self, node: object) -> None:
        """What the sizes of a step's result are, from those of what it is computed from."""
        layouts = self.plan.layouts
        if isinstance(node, Parameter):
            self._literal(Ref(node.name))
        elif isinstance(node, Product) and node.is_convolution:
            dims = layouts.of(Ref(node.name))
            count = len(dims) - 2
            into = [self._text(axes) for axes in layouts.of(node.x)[-count:]]
            kernel = self.graph[node.weight].shape[-count:]
            self._spatial(dims[-count:], convolved(node, kernel, into), node.name)
            self._fixed(dims[1], node.shape[1])
        elif isinstance(node, Window):
            count = len(node.kernel)
            into = [self._text(axes) for axes in layouts.of(node.operand)[-count:]]
            if node.ceil_mode:
                self._literal(Ref(node.name))
            else:
                self._spatial(layouts.of(Ref(node.name))[-count:], pooled(node, into), node.name)
        elif isinstance(node, Product):
            self._literal(Ref(node.name))

    def _text(self, axes: tuple[Axis, ...]) -> str:
        try:
            return self.sizes.of(axes)
        except KeyError:
            size = 1
            for axis in axes:
                size *= axis.size
            return str(size)

    def _spatial(self, dims: Sequence[tuple[Axis, ...]], texts: Sequence[str], word: str) -> None:
        for axes, text in zip(dims, texts, strict=True):
            if axes and axes not in self.sizes.known:
                name = self.sizes.names.of((word, text), f"{word}_{axes[-1].name}")
                if f"{name} = {text}" not in self.sizes.lines:
                    self.sizes.lines.append(f"{name} = {text}")
                self.sizes.known[axes] = name

    def _literal(self, ref: Ref) -> None:
        for axes, size in zip(self.plan.layouts.of(ref), self.graph[ref].shape, strict=True):
            self._fixed(axes, size)

    def _fixed(self, axes: tuple[Axis, ...], size: int) -> None:
        if axes and not all(self.sizes.knows((axis,)) for axis in axes):
            self.sizes.known.setdefault(axes, str(size))

    def facts(self, step: Kernel | Product) -> dict[str, str]:
        if isinstance(step, Product):
            if step.is_convolution:
                return self._convolved(step) if Ref(step.name) in self.plan.owned else {}
            x, shape = self.plan.layouts.of(step.x), self.plan.layouts.of(Ref(step.name))
            m = tuple(axis for axes in shape[:-1] for axis in axes)
            return {"m": self._text(m), "n": self._text(shape[-1]), "k": self._text(x[-1])}
        rows, elements = self._text(step.rows), self._text(step.elements)
        match step.family:
            case "turned":
                return {"channels": self._text(step.rows[step.outer :]), "positions": elements}
            case "map":
                return {"rows": rows, "length": elements}
            case "rows":
                segments, length = step.elements[: step.segments], step.elements[step.segments :]
                return {"segments": self._text(segments), "rows": rows, "length": self._text(length)}
            case "windows":
                return self._planes(step)
        outer, inner = step.rows[: step.outer], step.rows[step.outer :]
        return {"outer": self._text(outer), "length": elements, "inner": self._text(inner)}

    def _convolved(self, node: Product) -> dict[str, str]:
        dims = self.plan.layouts.of(Ref(node.name))
        words = ("depth", "height", "width")[5 - len(dims) :]
        return {"samples": self._text(dims[0])} | {word: self._text(dims[2 + k]) for k, word in enumerate(words)}

    def _planes(self, kernel: Kernel) -> dict[str, str]:
        assert kernel.window is not None
        count = len(kernel.window.kernel)
        into = self.plan.layouts.of(kernel.window.operand)[-count:]
        out = [(), (), *self.plan.layouts.of(Ref(kernel.window.name))[-count:]]
        return {
            "width": self._text(into[-1]), "out_height": self._text(out[-2]), "out_depth": self._text(out[-3]),
        }  # fmt: skip
