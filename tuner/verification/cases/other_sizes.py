"""I: other sizes and constructor's arguments than those tuned for. The right result, or a clear error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tuner.errors import DeviceFailed
from tuner.problem import sizes
from tuner.records import CaseResult, Workload
from tuner.verification.cases.case import Case, Values, winner_case
from tuner.verification.cases.draw import NOT_TAKEN, Draw, judgeable, taken, within_domain
from tuner.verification.cases.values import common_offset, near_eps, own_scale, random_affine

DRAWN = 3  # how many workloads of drawn sizes there are

Letters = dict[str, Values]  # by the letter of the case that these values are of


@winner_case
def batches(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: a single sample; and, drawn in secret, fewer samples than tuned for and more."""
    batch, workload = draw.reference.batch, draw.reference.workload
    if batch is None:
        yield CaseResult(name="I batch 1", ok=True, detail="not judged: there is no batch")
        return
    yield from _resized(draw, "I batch 1", batch.resized(workload, 1), {"A": random_affine})
    tuned = workload.shapes[batch.inputs[0]][0]
    near = draw.odd if draw.reference.is_light else workload
    for name, least, most in (("fewer samples", 2, tuned - 1), ("more samples", tuned + 1, tuned + tuned // 2 + 1)):
        if least <= most:
            samples = least + draw.below(most - least + 1)
            yield from _resized(draw, f"I {name}", batch.resized(near, samples), {"A": random_affine})


@winner_case
def odd_sizes(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: odd and prime sizes."""
    yield from _resized(draw, "I odd sizes", draw.odd, {"A": random_affine, "B": own_scale})


@winner_case
def drawn_sizes(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: sizes drawn in secret, any residue of 16 as likely as any other."""
    for number in range(DRAWN):
        drawn = sizes.drawn(draw.reference.problem, draw.odd, draw.plain, draw.below)
        yield from _resized(draw, f"I drawn sizes {number + 1}", drawn, {"A": random_affine})


@winner_case
def smallest_sizes(draw: Draw) -> Iterator[Case | CaseResult]:
    """I: the least sizes that the reference takes."""
    smallest = sizes.smallest(draw.reference.problem, draw.reference.workload, draw.plain)
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
    if not sizes.takes(draw.reference.problem, workload):
        yield CaseResult(name=name, ok=True, detail=NOT_TAKEN)
        return
    for letter, values in letters.items():
        yield _tried(draw, f"{name}, {letter}", workload, values)


def _altered(draw: Draw, name: str, workload: Workload) -> Iterator[Case | CaseResult]:
    """Cases of a reference that is built with other arguments."""
    inner = Draw(draw.reference.resized(workload), draw.seed, draw.samples)
    inner.tuned = draw.tuned
    for letter, values in {"A": random_affine, "C": common_offset, "D": near_eps}.items():
        yield _tried(inner, f"{name}, {letter}", workload, values)


def _tried(draw: Draw, name: str, workload: Workload, values: Values) -> Case | CaseResult:
    try:  # its shapes are taken and its values may not be: a label beyond the classes, say
        found = taken(name, lambda: within_domain(draw.sized(name, workload, values)))
    except DeviceFailed:
        return CaseResult(name=name, ok=True, detail="not judged: no memory for the reference's answer")
    return judgeable(found) if isinstance(found, Case) else found
