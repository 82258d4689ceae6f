"""A case of families.py: a small kernel of one family, what PyTorch computes of the same, and what it has to reach."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tuner import template
from tuner.space import Branch, Facts, Point, Space

SPACES = template.shipped_folder() / "include" / "families"


@dataclass(frozen=True)
class Case:
    """`source` is a file of benchmarks/families/ that exports `run`; `fixed` are macros that it is compiled with.

    `inputs` draws the tensors on the GPU. `reference` computes of them what the kernel does, by PyTorch: one tensor or
    several. `arguments`, given the inputs and tensors for the results, is what `run` is called with, the stream aside.
    `module` is that of the family's knobs and constraints; `facts` is what its constraints read beside the device.
    `moved` is the number of bytes that no kernel can do without, `goal` the share of `ceiling` ("copy" or "read": the
    bandwidth measured in the same run) that they have to move at. `tolerance` bounds the relative error in the norm
    between the results and the reference's.
    """

    family: str
    name: str
    source: str
    module: str
    inputs: Callable[[], list[torch.Tensor]]
    reference: Callable[..., Any]
    arguments: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], list[Any]]
    moved: int
    goal: float
    facts: Mapping[str, int]
    ceiling: str = "copy"
    fixed: Mapping[str, str | int] = field(default_factory=dict)
    knob_arguments: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5

    @property
    def title(self) -> str:
        return f"{self.family} {self.name}"

    def space(self, limits: Mapping[str, Any]) -> Space:
        """The family's own knobs and constraints, with the device's limits."""
        if str(SPACES) not in sys.path:
            sys.path.insert(0, str(SPACES))
        module = importlib.import_module(self.module)
        branch = Branch("run", module.cuda_knobs(**self.knob_arguments), module.cuda_constraints(**self.knob_arguments))
        return Space((branch,), Facts(**{**limits, "elementsize": 4, **self.facts}))

    def results(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the reference computes, as a list."""
        found = self.reference(*inputs)
        return [found] if isinstance(found, torch.Tensor) else list(found)


def single_steps(space: Space, start: Point) -> list[Point]:
    """The valid points that differ from `start` in one knob at most, `start` first."""
    points = [start]
    for position, knob in enumerate(space.branches[0].knobs):
        for choice in knob.choices:
            values = list(start.values)
            values[position] = (knob.name, choice)
            points.append(Point(start.variant, tuple(values)))
    return [point for point in dict.fromkeys(points) if space.rejected_by(point) is None]


def size(*shape: int, bytes_each: int = 4) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * bytes_each
