"""New values from known ones, at the cost of a copy: the same on both sides of a verification, to the bit."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from tuner.verification.papers import Perturbation
from tuner.verification.pieces import chunks

LEAST_FACTOR = 1 - 2**-8


def draw(rng: random.Random) -> Perturbation:
    """A factor alone would be lost in a model that normalises, and a move alone in one that sums."""
    return Perturbation(rng.uniform(1e-6, 1 - 1e-6), rng.uniform(LEAST_FACTOR, 1.0))


def perturb(x: torch.Tensor, by: Perturbation, out: torch.Tensor, device: torch.device | None = None) -> None:
    """Fill `out`, contiguous and of x's shape, with x's elements moved on and, where they are floats, scaled.

    With `device` they are scaled there: products of half-precision numbers may be rounded otherwise elsewhere.
    """
    if x.numel() < 2:
        out.copy_(x)
        return
    moved = 1 + int(by.shift * (x.numel() - 1))
    flat, target = x.reshape(-1), out.view(-1)
    parts = ((flat[moved:], target[: x.numel() - moved]), (flat[:moved], target[x.numel() - moved :]))
    for source, place in parts:
        if x.is_floating_point() and device not in (None, x.device):
            for part, where in chunks(source, place):
                where.copy_(part.to(device) * by.factor)
        elif x.is_floating_point():
            torch.mul(source, by.factor, out=place)
        else:
            place.copy_(source)


def perturbed_samples(x: torch.Tensor, by: Perturbation, numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Of what `perturb` makes of x, the samples of these numbers, on the device: no more of x is touched."""
    flat, size = x.reshape(-1), x[0].numel()
    moved = 1 + int(by.shift * (x.numel() - 1)) if x.numel() > 1 else 0
    rows = []
    for number in numbers:
        start = (number * size + moved) % x.numel()
        ahead = flat[start : start + size]
        rows.append(torch.cat((ahead, flat[: size - ahead.numel()])).to(device))
    some = torch.stack(rows).view(len(numbers), *x.shape[1:])
    return some * by.factor if x.is_floating_point() and x.numel() > 1 else some


def perturbed(
    inputs: Sequence[torch.Tensor], by: Perturbation, device: torch.device | None = None
) -> list[torch.Tensor]:
    """The inputs that a timer on this device makes of `inputs` by this perturbation; they lie where those do."""
    outs = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs]
    for x, out in zip(inputs, outs, strict=True):
        perturb(x, by, out, device)
    return outs
