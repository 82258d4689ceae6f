"""I: other sizes and constructor's arguments than those tuned for. The right result, or a clear error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tuner.problem import sizes
from tuner.records import CaseResult, Workload
from tuner.verification.cases.case import Case, Values, winner_case
from tuner.verification.cases.draw import Draw, judgeable
from tuner.verification.cases.values import common_offset, near_eps, own_scale, random_affine

Letters = dict[str, Values]  # by the letter of the case that these values are of


@winner_case
def batch_of_one(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: a single sample."""
    yield from _resized(draw, "I batch 1", draw.reference.workload.with_batch(1), {"A": random_affine})


@winner_case
def odd_sizes(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: odd and prime sizes."""
    yield from _resized(draw, "I odd sizes", draw.odd, {"A": random_affine, "B": own_scale})


@winner_case
def smallest_sizes(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: the least sizes that the reference takes."""
    smallest = sizes.smallest(draw.reference.problem, draw.reference.workload)
    for case in _resized(draw, "I smallest sizes", smallest, {"A": random_affine, "D": near_eps}):
        if isinstance(case, Case):  # a parameter may be larger than what is computed here, so no work is judged
            case = dataclasses.replace(case, expected=dataclasses.replace(case.expected, large=None))
        yield case


@winner_case
def one_channel_a_group(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: as many groups as channels."""
    altered = sizes.one_channel_a_group(draw.reference.problem, draw.odd)
    if altered is not None:
        yield from _altered(draw, "I one channel a group", altered)


@winner_case
def flipped_arguments(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: each true or false of the constructor's arguments turned round."""
    for i, workload in sizes.flipped(draw.reference.problem, draw.odd):
        yield from _altered(draw, f"I init[{i}]={workload.init[i]}", workload)


def _resized(draw: Draw, name: str, workload: Workload, letters: Letters) -> Iterator[Case | CaseResult]:
    if sizes.takes(draw.reference.problem, workload) is None:
        yield CaseResult(name=name, ok=True, detail="the reference does not take it")
        return
    for letter, values in letters.items():
        yield judgeable(draw.sized(f"{name}, {letter}", workload, values))


def _altered(draw: Draw, name: str, workload: Workload) -> Iterator[Case | CaseResult]:
    """Cases of a reference that is built with other arguments."""
    inner = Draw(draw.reference.resized(workload), draw.seed, draw.samples)
    for letter, values in {"A": random_affine, "C": common_offset, "D": near_eps}.items():
        yield judgeable(inner.sized(f"{name}, {letter}", workload, values))
