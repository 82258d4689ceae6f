"""What has to hold of a reference before anything is judged by it: each is tried, none is assumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tuner.errors import ProblemError
from tuner.records import TensorSpec, Workload
from tuner.verification.answers import Answer
from tuner.verification.criterion import largest_finite
from tuner.verification.guards import same_bits
from tuner.verification.parameters import Tensors

NEAR = 1e-4  # two runs of a reference that is not random differ by less of the largest result
PROVING_SAMPLES = 8  # a batch is proved on this many samples, or on as many as there are
SAME = 1e-9  # in float64, relative to the largest result: what another order of summation may change

INDEPENDENT = (
    "its result does not depend on its inputs, so that a kernel that computes it cannot be told from one that "
    "computes nothing"
)


@dataclass(frozen=True)
class Batch:
    """Samples that do not cross: the first dimension of these inputs, and the one that follows it in each result."""

    inputs: tuple[int, ...]
    results: tuple[int, ...]

    def size(self, inputs: Sequence[torch.Tensor]) -> int:
        """How many samples there are."""
        return inputs[self.inputs[0]].shape[0]

    def of_inputs(self, inputs: Tensors, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
        """The inputs, those with samples changed."""
        return [change(x) if number in self.inputs else x for number, x in enumerate(inputs)]

    def first(self, inputs: Tensors, samples: int) -> Tensors:
        """The inputs' first samples, in memory of their own."""
        return self.of_inputs(inputs, lambda x: x[:samples].clone())

    def sample(self, inputs: Tensors, number: int) -> Tensors:
        """The inputs' sample of this number, alone."""
        return self.of_inputs(inputs, lambda x: x[number : number + 1])

    def reversed(self, inputs: Tensors) -> Tensors:
        """The samples in reverse order."""
        return self.of_inputs(inputs, lambda x: x.flip(0))

    def results_reversed(self, results: Tensors) -> Tensors:
        """Results of reversed samples, in the order of the samples."""
        return [y.flip(dim) for y, dim in zip(results, self.results, strict=True)]

    def resized(self, workload: Workload, samples: int) -> Workload:
        """The workload with another number of samples."""
        return workload.with_inputs(
            TensorSpec(shape=(samples, *spec.shape[1:]), dtype=spec.dtype) if number in self.inputs else spec
            for number, spec in enumerate(workload.inputs)
        )


def find_batch(oracle: Callable[[Tensors], Tensors], inputs: Tensors) -> Batch | None:
    """The batch of a reference, proved by its float64 results; None where there is none.

    A single sample, and the later half in reverse order, have to give what the whole gives.
    """
    for shared in _hypotheses(inputs):
        count = min(PROVING_SAMPLES, inputs[shared[0]].shape[0])
        few = [x[:count] if number in shared else x for number, x in enumerate(inputs)]
        try:
            whole = oracle(few)
            dims = [[d for d in range(y.dim()) if y.shape[d] == count] for y in whole]
            order = list(range(count))
            for picked in (order[:1], order[count // 2 :][::-1]):
                rows = torch.tensor(picked, device=few[0].device)
                part = oracle([x.index_select(0, rows) if number in shared else x for number, x in enumerate(few)])
                dims = [
                    [d for d in found if _same(z, y.index_select(d, rows.to(y.device)))]
                    for y, z, found in zip(whole, part, dims, strict=True)
                ]
        except Exception:  # the user's own code, asked for what it may not be made for
            continue
        if all(dims):
            return Batch(shared, tuple(found[0] for found in dims))
    return None


def find_mean(oracle: Callable[[Tensors], Tensors], inputs: Tensors) -> tuple[int, ...] | None:
    """The inputs with samples over which every result is a mean, proved by float64 results; None where it is none.

    Two parts of other sizes, weighted by these, have to give what the whole gives.
    """
    for shared in _hypotheses(inputs):
        count = min(PROVING_SAMPLES, inputs[shared[0]].shape[0])
        first = max(1, 3 * count // 8)
        try:
            whole, one, other = (
                oracle([x[of] if number in shared else x for number, x in enumerate(inputs)])
                for of in (slice(0, count), slice(0, first), slice(first, count))
            )
        except Exception:  # the user's own code, asked for what it may not be made for
            continue
        share = first / count
        if all(
            y.is_floating_point() and a.shape == y.shape == b.shape and _same(share * a + (1 - share) * b, y)
            for y, a, b in zip(whole, one, other, strict=True)
        ):
            return shared
    return None


def _hypotheses(inputs: Tensors) -> Iterator[tuple[int, ...]]:
    """Inputs that may share a batch: all of the first one's size, then each alone. One sample proves nothing."""
    several = [number for number, x in enumerate(inputs) if x.dim() > 0 and x.shape[0] > 1]
    alike = tuple(number for number in several if inputs[number].shape[0] == inputs[several[0]].shape[0])
    if len(alike) > 1:
        yield alike
    for number in several:
        yield (number,)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=0.0, atol=SAME * largest_finite(b), equal_nan=True)


def depends_on_values(oracle: Callable[[Tensors], Tensors], inputs: Tensors) -> bool:
    """Whether the float64 results of a reference change with the values of its inputs.

    Taken for granted where no other values can be had, or the results are finite for none of them.
    """
    whole = oracle(inputs)
    tried = 0
    for others in _other_values(inputs):
        if all(same_bits(x, y) for x, y in zip(inputs, others, strict=True)):
            continue
        try:
            results = oracle(others)
        except ProblemError:  # it refuses values that are none of its own
            continue
        if all(bool(y.isfinite().all()) for y in (*whole, *results)):
            tried += 1
            if not all(_same_elements(y, z) for y, z in zip(whole, results, strict=True)):
                return True
    return tried == 0


def _other_values(inputs: Tensors) -> Iterator[Tensors]:
    """The inputs with other values: in the problem's own ranges first, beyond them where these change nothing."""
    yield [x.flatten().roll(number + 1).view_as(x) for number, x in enumerate(inputs)]
    changes: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x / 2, lambda x: x * 8 + 2, torch.neg, torch.zeros_like, _with_extremes,
    ]  # fmt: skip
    for change in changes:
        yield [change(x) if x.is_floating_point() else x for x in inputs]


def _with_extremes(x: torch.Tensor) -> torch.Tensor:
    """The elements, the first of them infinite and the last NaN: some functions ask for nothing else."""
    flat = x.flatten().clone()
    flat[:1], flat[1:][-1:] = torch.inf, torch.nan
    return flat.view_as(x)


def _same_elements(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=SAME, atol=0.0)


def same_answers(one: Answer, other: Answer) -> bool:
    """Whether two forwards gave the same bits, in their results and in the buffers that they left."""
    pairs = zip(one.tensors, other.tensors, strict=True)
    return all(same_bits(a, b) for a, b in pairs) and all(
        same_bits(value, other.buffers[name]) for name, value in one.buffers.items()
    )


def nearly_same(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same to the bit, or to a rounding: sums by atomic operations are not random."""
    if same_answers(one, other):
        return True
    return all(_near(a, b) for a, b in zip(one.everything(), other.everything(), strict=True))


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    if not a.is_floating_point():
        return same_bits(a, b)
    share = max(NEAR, 16 * torch.finfo(a.dtype).eps)
    return torch.allclose(a.double(), b.double(), rtol=0.0, atol=share * largest_finite(a), equal_nan=True)
