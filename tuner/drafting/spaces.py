"""The knobs of a draft: which modules of include/ its template.py calls, with which arguments, and what they say."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.drafting import calls
from tuner.drafting.axes import size_of
from tuner.drafting.graph import Parameter, Product, Ref
from tuner.drafting.owned import Owned
from tuner.drafting.plan import Plan
from tuner.drafting.region import Kernel
from tuner.space import Knob
from tuner.template.shared import shared_modules

# Elements from which an input was brought into channels-last memory faster by our own kernel, in each of
# benchmarks/drafts.py's convolutions of at least eight channels.
TURNED = 32_000_000


@dataclass(frozen=True)
class Space:
    """A call `module.knobs(prefix, **arguments)`, and one of `module.constraints` with the same arguments."""

    module: str
    knobs: str
    constraints: str
    prefix: str
    arguments: tuple[tuple[str, Any], ...] = ()
    constrained: tuple[str, ...] | None = None  # the arguments that constraints take; None: the same

    def text(self, function: str, constraints: bool = False) -> str:
        given = [
            (k, v) for k, v in self.arguments if not constraints or self.constrained is None or k in self.constrained
        ]
        parts = [repr(self.prefix).replace("'", '"')] if self.prefix else []
        parts += [f"{name}={_python(value)}" for name, value in given]
        return f"*{self.module}.{function}({', '.join(parts)})"


def _python(value: object) -> str:
    return repr(value).replace("'", '"')


def kernel_space(kernel: Kernel, prefix: str, device: str) -> Space:
    """Of a kernel's family."""
    if device == "cpu":
        return Space("cpu_space", f"{kernel.family}_knobs", f"{kernel.family}_constraints", prefix)
    arguments: tuple[tuple[str, Any], ...] = ()
    if kernel.family == "rows":
        again = any(not result.is_total for result in kernel.results) or len(kernel.rounds()) > 1
        arguments = (("length", size_of(kernel.elements)), *(() if again else (("kept", False),)))
    elif kernel.family == "columns":
        arguments = (("length", size_of(kernel.elements)),)
    elif kernel.window is not None:
        window, more = kernel.window, 3 - len(kernel.window.kernel)
        arguments = tuple((name, (1,) * more + getattr(window, name)) for name in ("kernel", "stride", "dilation"))
    module = f"{kernel.family}_space"
    return Space(module, "cuda_knobs", "cuda_constraints", prefix, arguments)


def product_space(node: Product, plan: Plan, device: str, few_rows: bool) -> Space | None:
    """Of a product; None where it has no choices."""
    graph = plan.graph
    prefix = calls.prefix(node)
    if Ref(node.name) in plan.owned:
        return owned_space(plan.owned[Ref(node.name)], prefix)
    if node.is_convolution:
        flip = (("can_flip", True),) if calls.can_flip(node) else ()
        if device == "cpu":
            arguments = (("device", "cpu"), *flip)
        else:
            x = graph[node.x]
            channels = x.shape[1] // node.groups
            arguments = (*flip, *((("channels", channels),) if channels != 64 else ()))
            if Ref(node.name) in plan.last:
                large = math.prod(x.shape) >= TURNED
                arguments += (("layout", False), *((("turn", True),) if large and channels >= 8 else ()))
        constrained = ("device",)
        return Space("space", "convolution_knobs", "convolution_constraints", prefix, arguments, constrained)
    if device == "cpu" or not calls.is_split(node) or min(len(graph[ref].shape) for ref in (node.x, node.weight)) < 2:
        return None
    is_weight = node.kind == "linear" and isinstance(graph[node.weight], Parameter)
    more = (
        *((("weight", False),) if not is_weight else ()),
        *((("few_rows", True),) if few_rows and is_weight else ()),
    )
    return Space("space", "product_knobs", "product_constraints", prefix, more, ())


def owned_space(owned: Owned, prefix: str) -> Space:
    """Of a convolution of ours."""
    node, more = owned.node, 3 - len(owned.node.stride)
    arguments: tuple[tuple[str, Any], ...] = (
        ("channels", owned.channels), ("kernel", (1,) * more + owned.kernel_sizes),
        ("stride", (1,) * more + node.stride), ("dilation", (1,) * more + node.dilation),
        ("padding", (0,) * more + node.padding),
    )  # fmt: skip
    arguments += (("transposed", True),) if owned.is_transposed else ()
    arguments += (("whole", True),) if owned.end is not None and owned.end.family == "columns" else ()
    arguments += (("sizes", (1,) * more + node.shape[2:]),)
    return Space("implicit_space", "cuda_knobs", "cuda_constraints", prefix, arguments)


def spaces(plan: Plan, device: str, few_rows: bool = False) -> list[tuple[Kernel | Product, Space]]:
    """Of every step of a plan that has knobs, in order."""
    found: list[tuple[Kernel | Product, Space]] = []
    kernels = plan.kernels
    for step in plan.steps:
        if isinstance(step, Kernel):
            if step.name in plan.ends:
                continue
            prefix = "" if len(kernels) == 1 else f"{step.name}_"
            found.append((step, kernel_space(step, prefix, device)))
        elif isinstance(step.node, Product):
            space = product_space(step.node, plan, device, few_rows)
            if space is not None:
                found.append((step.node, space))
    return found


def knobs(folder: Path, wanted: Sequence[Space]) -> dict[Space, tuple[Knob, ...]]:
    """What the calls give, for a template in `folder`."""
    with shared_modules(folder):
        return {
            one: getattr(importlib.import_module(one.module), one.knobs)(one.prefix, **dict(one.arguments))
            for one in wanted
        }
