"""Other sizes of a problem: which ones its reference takes, and workloads made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from tuner.problem.file import Problem
from tuner.records import Workload

PRIMES = (5, 3, 11, 7, 13, 17, 19)  # a batch of 5, then one for each further dimension


def takes(problem: Problem, workload: Workload) -> torch.Size | None:
    """The shape of the reference's result for a workload, computed on the meta device; None when it refuses."""
    try:
        with torch.no_grad(), torch.device("meta"):
            model = problem.model(*workload.init).eval()
            result = model(*[torch.empty(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs])
    except Exception:  # the user's own code, asked for what it may not be made for
        return None
    return result.shape if isinstance(result, torch.Tensor) and result.numel() > 0 else None


def batch_dim(problem: Problem, workload: Workload) -> int | None:
    """Which dimension of the result is the batch: the one that follows the inputs' first."""
    two, three = takes(problem, workload.with_batch(2)), takes(problem, workload.with_batch(3))
    if two is None or three is None or len(two) != len(three):
        return None
    return next((d for d in range(len(two)) if (two[d], three[d]) == (2, 3)), None)


def odd(problem: Problem, workload: Workload) -> Workload:
    """Every size that the reference lets go replaced by an odd or prime one, few samples among them."""

    def choices(dim: int, size: int) -> list[int]:
        wanted = PRIMES[dim % len(PRIMES)]
        return [wanted] if dim == 0 else sorted(PRIMES, key=lambda p: abs(p - wanted))

    return _with_sizes(problem, workload, choices)


def smallest(problem: Problem, workload: Workload) -> Workload:
    """A batch of 2, and in every other dimension the least size that the reference takes."""
    return _with_sizes(problem, workload, lambda dim, size: [2] if dim == 0 else [*range(1, min(size, max(PRIMES)))])


def _with_sizes(problem: Problem, workload: Workload, choices: Callable[[int, int], Sequence[int]]) -> Workload:
    """For each dimension the first of its choices that the reference takes; its own size when it takes none."""
    keys = sorted({(d, n) for spec in workload.inputs for d, n in enumerate(spec.shape)}, key=lambda k: (k[0] == 1, k))
    for key in keys:  # the channels last, when all else is small
        for size in choices(*key):
            changed = workload.resized({key: size})
            if takes(problem, changed) is not None and (size == key[1] or _runs(problem, changed)):
                workload = changed
                break
    return workload


def _runs(problem: Problem, workload: Workload) -> bool:
    """Whether the reference really takes these sizes: on the meta device a convolution's channels go unchecked,
    and before PyTorch 2.12 a kernel larger than its input."""
    try:
        with torch.no_grad():
            inputs = [torch.zeros(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs]
            problem.model(*workload.init).eval()(*inputs)
    except Exception:  # the user's own code, asked for what it may not be made for
        return False
    return True


def one_channel_a_group(problem: Problem, workload: Workload) -> Workload | None:
    """The constructor's argument that is a GroupNorm's number of groups, replaced by its number of channels."""
    norm = next((m for m in _meta(problem, workload).modules() if isinstance(m, nn.GroupNorm)), None)
    if norm is None or norm.num_groups == norm.num_channels:
        return None
    given = whole_init(problem, workload)
    for i, value in reversed(list(enumerate(given))):
        if type(value) is int and value == norm.num_groups:
            init = (*given[:i], norm.num_channels, *given[i + 1 :])
            changed = workload.with_init(init)
            if takes(problem, changed) is not None:
                built = [m for m in _meta(problem, changed).modules() if isinstance(m, nn.GroupNorm)]
                if built[0].num_groups == built[0].num_channels == norm.num_channels:
                    return changed
    return None


def flipped(problem: Problem, workload: Workload) -> Iterator[tuple[int, Workload]]:
    """The workload with each true or false of the constructor's arguments turned round."""
    given = whole_init(problem, workload)
    for i, value in enumerate(given):
        if isinstance(value, bool):
            init = (*given[:i], not value, *given[i + 1 :])
            changed = workload.with_init(init)
            if takes(problem, changed) is not None:
                yield i, changed


def whole_init(problem: Problem, workload: Workload) -> tuple[Any, ...]:
    """The constructor's arguments with the defaults of those left out."""
    try:
        bound = inspect.signature(problem.model).bind(*workload.init)
    except (TypeError, ValueError):
        return workload.init
    bound.apply_defaults()
    return bound.args


def _meta(problem: Problem, workload: Workload) -> nn.Module:
    with torch.device("meta"):
        return problem.model(*workload.init)
