"""The cases of a trial, and a candidate run through cases in this process.

`Suite` computes inputs, parameter values, oracles and allowed errors; no
candidate is needed for that, nor for `criterion.judge` to tell whether a result
is right. `build` and `run` are for a process that does both.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from tuner import problem
from tuner.errors import UnjudgeableError
from tuner.records import CaseResult, Correctness, Workload
from tuner.verification import in_pieces
from tuner.verification.answers import Answer
from tuner.verification.cases import TRIAL, Case, Draw, Makes
from tuner.verification.criterion import Wrong, error_ratio, judge, require_parameters
from tuner.verification.guarded_model import GuardedModel, construct
from tuner.verification.operators import Work, fallbacks, own_work
from tuner.verification.parameters import Tensors
from tuner.verification.pieces import SHARE
from tuner.verification.reference import Reference

LIGHT_BATCH = 8  # where forwards are slow, cases after the first use at most this many samples
KERNELBENCH_TOLERANCE = 1e-4


@dataclass
class Outcome:
    """What became of a candidate's cases so far."""

    leaves: tuple[str, ...] = ()  # operators of PyTorch that may do the candidate's work
    results: list[CaseResult] = field(default_factory=list)
    left: set[str] = field(default_factory=set)  # operators of PyTorch that did the candidate's work
    error_ratio: float = 0.0  # the largest
    agrees_with_eager: bool = True

    def add(self, case: Case, result: CaseResult, work: Work) -> None:
        """Add the result of a case, and what the candidate left to PyTorch in it."""
        self.results.append(result)
        self.left |= fallbacks(work, case.expected.large)
        self.error_ratio = max(self.error_ratio, error_ratio(result))

    def correctness(self) -> Correctness:
        """All of it as it is persisted, with a case that says whose work it was."""
        cases = (*self.results, own_work(self.left, self.leaves))
        return Correctness(cases=cases, error_ratio=self.error_ratio, agrees_with_eager=self.agrees_with_eager)


class Suite:
    """The cases of a trial for one problem, workload and device.

    `seed` is drawn by the caller and unknown to candidates. Oracles stay allocated
    as long as the suite, so that no allocation of a candidate is ever given their
    memory; what was used on the way is returned to the driver.
    Raises ProblemError when the reference refuses the workload, and UnjudgeableError when
    it is random, the same whatever its inputs are, or in no case right itself.
    """

    def __init__(
        self,
        loaded: problem.Problem,
        workload: Workload,
        device: str,
        seed: int,
        error_budget: float = 8.0,
        makes: Sequence[Makes] = tuple(TRIAL),
    ) -> None:
        if makes:
            problem.require_takes(loaded, workload)
        self.problem, self.workload, self.seed = loaded, workload, seed
        self.reference = Reference(loaded, workload, device, seed, error_budget)
        if makes:
            self.reference.require_deterministic()
            self.reference.require_dependent()
        self.judged_on = ""  # how many samples, where the first case is not of all
        self.cases = self._judgeable(makes)
        self.reference.backend.release_memory()

    def _judgeable(self, makes: Sequence[Makes]) -> list[Case]:
        rng = torch.Generator().manual_seed(self.seed)
        made: list[Case | CaseResult] = []
        for number, make in enumerate(makes):
            light = LIGHT_BATCH if number > 0 and self.reference.is_light else None
            draw = Draw(self.reference, int(torch.randint(2**31, (1,), generator=rng)), light)
            if number == 0 and self.reference.is_large:
                draw.plain = self._fitting(draw.plain)
            made += list(make(draw))
        if made and self.judged_on and isinstance(made[0], Case):
            made[0] = dataclasses.replace(made[0], note=self.judged_on)
        found = [case for case in made if isinstance(case, Case)]
        if made and not found:
            raise UnjudgeableError(f"{self.problem.path}: no case can judge it: {_reason(made)}")
        return found

    def _fitting(self, inputs: Tensors) -> Tensors:
        """As many of the samples as a candidate's process has memory for. Raises UnjudgeableError for less than one."""
        backend, batch, whole = self.reference.backend, self.reference.batch, self.reference.footprint(inputs)
        free = min(backend.free_bytes(), int(SHARE * backend.memory_bytes()) + whole.own)
        needed = whole.examined
        if needed <= free:
            return inputs
        have = 1 if batch is None else batch.size(inputs)
        fitting = int(have * free / needed)
        if batch is None or fitting == 0:
            raise UnjudgeableError(
                f"{self.problem.path}: verifying {'it' if batch is None else 'a single sample'} takes "
                f"{needed / have / 1e9:.3g} GB, and {free / 1e9:.3g} GB of the device's memory are there for it"
            )
        self.judged_on = f"judged on {fitting} of {have} samples: more do not fit"
        return batch.first(inputs, fitting)

    @property
    def timed_inputs(self) -> Tensors:
        """Plain inputs of the workload's own size: those of the first case, unless it is of fewer samples."""
        return self.reference.inputs(self.seed) if self.judged_on else self.cases[0].inputs

    def build(self, model_new: Callable[..., nn.Module]) -> GuardedModel:
        """A candidate's model, proved to start from the reference's parameters."""
        return build(model_new, self.reference)

    def run(self, candidate: GuardedModel) -> Outcome:
        """Every case. One that fails is in the outcome; nothing is raised for a wrong value."""
        found = run_cases(candidate, self.cases)
        ok = all(result.ok for result in found.results)
        found.agrees_with_eager = ok and self.agrees(
            candidate.call_unguarded(self.reference.state, self.cases[0].inputs)
        )
        return found

    def agrees(self, answer: Answer) -> bool:
        """Whether KernelBench would score this answer to plain inputs and initial parameters as right."""
        tolerance = KERNELBENCH_TOLERANCE
        if self.cases[0].expected.pieces is not None:
            return in_pieces.close_to_eager(self.reference, self.cases[0].inputs, answer, tolerance)
        return answer.structure == self.plain_eager.structure and all(
            y.shape == own.shape and torch.allclose(y, own, rtol=tolerance, atol=tolerance, equal_nan=True)
            for y, own in zip(answer.tensors, self.plain_eager.tensors, strict=True)
        )

    @functools.cached_property
    def plain_eager(self) -> Answer:
        """Eager's answer with the initial parameters to plain inputs, which the first case leaves as they are."""
        return self.reference.eager(self.reference.state, self.cases[0].inputs)


def _reason(made: Sequence[Case | CaseResult]) -> str:
    return "; ".join(dict.fromkeys(result.detail for result in made if isinstance(result, CaseResult)))


def build(model_new: Callable[..., nn.Module], reference: Reference) -> GuardedModel:
    """A candidate's model on the reference's device, its parameters between guard zones.

    Raises Wrong unless it starts from the reference's parameters: same seed, same
    constructor's arguments; names, order, shapes and initial values must agree.
    """
    model = construct(model_new, reference.workload, reference.seed)
    require_parameters(model.state_dict(), reference.state)
    if reference.training is not None:
        model.train(reference.training)
    candidate = GuardedModel(model, reference.backend)
    candidate.guard_parameters()
    return candidate


def run_case(candidate: GuardedModel, case: Case, repeat: bool = False) -> CaseResult:
    """One case: every result judged as soon as it is there. What the candidate raises propagates."""
    try:
        for answer in candidate.answers(case.state, case.inputs, repeat):
            verdict = judge(case.name, case.expected, answer)
            if not verdict.ok:
                break
    except Wrong as wrong:
        return CaseResult(name=case.name, ok=False, detail=str(wrong))
    return verdict


def run_cases(candidate: GuardedModel, cases: Iterable[Case]) -> Outcome:
    """What becomes of these cases, the first of which is repeated."""
    found = Outcome()
    for case in cases:
        found.add(case, run_case(candidate, case, repeat=not found.results), candidate.work)
    return found
