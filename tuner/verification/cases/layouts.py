"""H: inputs that lie in memory in another way. The right result, or a clear error."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tuner.records import CaseResult
from tuner.verification.cases.case import Case, winner_case
from tuner.verification.cases.draw import Draw, judgeable, taken

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}  # by number of dimensions


@winner_case
def layouts(draw: Draw) -> Iterator[Case | CaseResult]:
    """H: strides of two, dimensions in another order, an offset of one element, channels-last."""
    ways = [("H non-contiguous", _spaced), ("H transposed", _turned), ("H offset of one element", _shifted)]
    if any(x.dim() in CHANNELS_LAST for x in draw.plain):
        ways.append(("H channels-last", _channels_last))
    for name, way in ways:
        inputs = [way(x) for x in draw.moved()]
        yield taken(name, lambda name=name, inputs=inputs: judgeable(draw.case(name, inputs, may_refuse=True)))  # type: ignore[misc]


def _spaced(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x, x], -1)[..., 0]


def _turned(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() else x


def _shifted(x: torch.Tensor) -> torch.Tensor:
    return torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)[1:].view_as(x).copy_(x)


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=CHANNELS_LAST.get(x.dim(), torch.contiguous_format))
