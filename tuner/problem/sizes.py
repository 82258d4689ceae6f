"""Other sizes of a problem: which ones its reference takes, and workloads made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from tuner.problem.file import Problem, alike, construct
from tuner.problem.results import tensors_of
from tuner.records import Workload

RESIDUES = 16  # sizes drawn are 1 to 16, and three times that where there are few dimensions
LARGEST_DRAWN = 3 * RESIDUES
TRIES = 4  # how often a size is drawn until the reference takes it
SAMPLED = 1000  # elements of an input, from which others are drawn
PRIMES = (5, 3, 11, 7, 13, 17, 19)  # a batch of 5, then one for each further dimension


def takes(problem: Problem, workload: Workload) -> bool:
    """Whether the reference takes a workload and its result has elements, tried on the meta device."""
    try:
        with torch.no_grad(), torch.device("meta"):
            model = construct(problem.model, workload)
            result = model(*[torch.empty(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs])
        return all(t.numel() > 0 for t in tensors_of(result))
    except Exception:  # the user's own code, asked for what it may not be made for
        return False


def odd(problem: Problem, workload: Workload, own: Sequence[torch.Tensor] = ()) -> Workload:
    """Every size that the reference lets go replaced by an odd or prime one, few samples among them."""

    def choices(dim: int, size: int) -> list[int]:
        wanted = PRIMES[dim % len(PRIMES)]
        return [wanted] if dim == 0 else sorted(PRIMES, key=lambda p: abs(p - wanted))

    return _with_sizes(problem, workload, own, choices)


def smallest(problem: Problem, workload: Workload, own: Sequence[torch.Tensor] = ()) -> Workload:
    """A batch of 2, and in every other dimension the least size that the reference takes."""
    return _with_sizes(
        problem, workload, own, lambda dim, size: [2] if dim == 0 else [*range(1, min(size, max(PRIMES)))]
    )


def drawn(problem: Problem, workload: Workload, own: Sequence[torch.Tensor], below: Callable[[int], int]) -> Workload:
    """Sizes drawn by `below(n)`, every residue of 16 as likely; one that the reference does not let go stays."""
    largest = LARGEST_DRAWN if max(len(shape) for shape in workload.shapes) <= 2 else RESIDUES
    return _with_sizes(problem, workload, own, lambda dim, size: [1 + below(largest) for _ in range(TRIES)])


def _with_sizes(
    problem: Problem,
    workload: Workload,
    own: Sequence[torch.Tensor],
    choices: Callable[[int, int], Sequence[int]],
) -> Workload:
    """For each dimension the first of its choices that the reference takes; its own size when it takes none.

    It has to take them with values like those of `own` inputs, too.
    """
    few = [x.flatten()[:SAMPLED].cpu() for x in own]
    keys = sorted({(d, n) for spec in workload.inputs for d, n in enumerate(spec.shape)}, key=lambda k: (k[0] == 1, k))
    for key in keys:  # the channels last, when all else is small
        for size in choices(*key):
            changed = workload.resized({key: size})
            if takes(problem, changed) and (size == key[1] or _runs(problem, changed, few)):
                workload = changed
                break
    return workload


def _runs(problem: Problem, workload: Workload, own: Sequence[torch.Tensor]) -> bool:
    """Whether the reference really takes these sizes: on the meta device a convolution's channels go unchecked,
    and before PyTorch 2.12 a kernel larger than its input."""
    try:
        with torch.no_grad():
            construct(problem.model, workload)(*alike(own, workload.inputs))
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
            if takes(problem, changed):
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
            if takes(problem, changed):
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
        return construct(problem.model, workload)
