"""The reference on one device: its answer in float64, its own error, and what a right answer is by them."""

from __future__ import annotations

import contextlib
import copy
import functools
import time
from collections.abc import Iterator

import torch
from torch import nn

from tuner import backends, problem
from tuner.errors import ProblemError, UnjudgeableError
from tuner.problem import sizes
from tuner.records import Workload
from tuner.verification.answers import Answer
from tuner.verification.criterion import (
    Expectation,
    ExpectedTensor,
    allowed_error,
    error_of,
    largest_finite,
)
from tuner.verification.guards import same_bits
from tuner.verification.operators import Operators
from tuner.verification.parameters import (
    State,
    Tensors,
    doubled,
    draw_affine,
    load_state,
    made_in_float64,
    main_parameters,
)
from tuner.verification.pieces import SHARE, Footprint, Sizes
from tuner.verification.preconditions import (
    INDEPENDENT,
    Batch,
    depends_on_values,
    find_batch,
    find_mean,
    nearly_same,
    same_answers,
)
from tuner.verification.tf32 import CONVOLUTIONS, round_to_tf32, rounded_operands, tf32_flags

EXAMPLE_SAMPLES = 2  # where a reference is only looked at
TIE_DRAWS = 3  # how often inputs are perturbed to find the integer results that a rounding decides


class Reference:
    """A problem's reference for one workload. Its parameters are drawn from `seed`; `state` holds those values.

    `training` sets its mode; None: as its constructor leaves it, which is what a user runs.
    Raises ProblemError when the reference refuses the workload.
    """

    def __init__(
        self,
        loaded: problem.Problem,
        workload: Workload,
        device: str,
        seed: int,
        error_budget: float,
        training: bool | None = None,
    ) -> None:
        self.problem, self.workload = loaded, workload
        self.backend, self.device = backends.of(device), torch.device(device)
        self.seed, self.error_budget, self.training = seed, error_budget, training
        self.model = problem.reference(loaded, workload, seed).to(self.device)
        if training is not None:
            self.model.train(training)
        self.state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def resized(self, workload: Workload) -> Reference:
        """The reference of the same problem for another workload."""
        device = self.backend.torch_device
        return Reference(self.problem, workload, device, self.seed, self.error_budget, self.training)

    def in_mode(self, training: bool) -> Reference:
        """The same reference in training or evaluation mode."""
        return Reference(self.problem, self.workload, self.backend.torch_device, self.seed, self.error_budget, training)

    @functools.cached_property
    def double(self) -> nn.Module:
        """The reference in float64, tensors that are neither parameters nor buffers included."""
        model = copy.deepcopy(self.model).double()
        for module in model.modules():
            for name, value in vars(module).items():
                if isinstance(value, torch.Tensor) and value.is_floating_point():
                    setattr(module, name, value.double())
        return model

    # ---- what has to hold before anything is judged --------------------------------------------------

    def require_deterministic(self) -> None:
        """Raise UnjudgeableError when two runs on the same values differ by more than a rounding explains."""
        first, second = (self.eager(self.affine_state, self.example) for _ in range(2))
        if not nearly_same(first, second):
            mode = "training" if any(module.training for module in self.model.modules()) else "evaluation"
            raise UnjudgeableError(
                f"{self.problem.path}: the reference is random (two runs in {mode} mode differ): nothing can be judged"
            )

    def require_dependent(self) -> None:
        """Raise UnjudgeableError when results and buffers are the same whatever the values of the inputs are."""
        one = self.smaller if self.is_large and self.batch is None else self
        if not depends_on_values(lambda inputs: one.oracle(one.affine_state, inputs).everything(), one.example):
            raise UnjudgeableError(f"{self.problem.path}: {INDEPENDENT}")

    @functools.cached_property
    def affine_state(self) -> State:
        """The initial parameter values, affine ones drawn anew: defaults would hide what they do."""
        return draw_affine(self.state, torch.Generator(self.device).manual_seed(self.seed + 11))

    @property
    def example(self) -> Tensors:
        """Inputs as the problem makes them, few samples of them where there is a batch."""
        return self._proved[1]

    @property
    def batch(self) -> Batch | None:
        """The batch, proved by slices and reversal; None where the samples cross, or there is no batch at all."""
        return self._proved[0]

    @functools.cached_property
    def _proved(self) -> tuple[Batch | None, Tensors]:
        whole = self._drawn(self.seed + 13, None)

        def oracle(inputs: Tensors) -> Tensors:
            return self.oracle(self.affine_state, [x.to(self.device) for x in inputs]).tensors

        batch = find_batch(oracle, whole)
        if batch is None:
            return None, [x.cpu() for x in whole]
        return batch, self._here(batch.first(whole, EXAMPLE_SAMPLES))

    @functools.cached_property
    def averaged(self) -> tuple[int, ...] | None:
        """Inputs with samples over which the results are means, where there is no batch; None where they are none."""
        if self.batch is not None or self._footprint.changes_buffers:
            return None
        return find_mean(lambda inputs: self.oracle(self.affine_state, inputs).tensors, self.example)

    def _here(self, inputs: Tensors) -> Tensors:
        return [x.to(self.device) for x in inputs]

    @functools.cached_property
    def forward_s(self) -> float:
        """Seconds of one forward, the second of two: limits on a candidate follow from it."""
        self.eager(self.state, self.example)
        self.backend.synchronize()
        start = time.perf_counter()
        self.eager(self.state, self.example)
        self.backend.synchronize()
        return time.perf_counter() - start

    @functools.cached_property
    def other_mode(self) -> Reference | None:
        """The reference in its other mode, where that makes a difference."""
        mine = self.eager(self.affine_state, self.example)
        others = (self.in_mode(training) for training in (False, True))
        return next((o for o in others if not nearly_same(mine, o.eager(self.affine_state, self.example))), None)

    # ---- how much memory all of that takes -----------------------------------------------------------

    @functools.cached_property
    def _footprint(self) -> Footprint:
        state, inputs = self.affine_state, self.example
        with Sizes() as sizes:
            answer = self.eager(state, inputs)
        changed = any(not same_bits(y, state[name]) for name, y in answer.buffers.items() if name in state)
        held = [sum(x.nbytes for x in tensors) for tensors in (inputs, answer.tensors)]
        return Footprint(held[0], held[1], sizes.largest, changed)

    def footprint(self, inputs: Tensors) -> Footprint:
        """What a forward on these inputs takes, by the size of their samples; `meta` tensors will do."""
        one, own = self._footprint, range(len(inputs)) if self.batch is None else self.batch.inputs
        return one.times(sum(inputs[i].nbytes for i in own) / max(sum(self.example[i].nbytes for i in own), 1))

    def exceeds(self, inputs: Tensors) -> bool:
        """Whether verification would hold more than its share of memory, did it keep all of a case of these inputs."""
        return self.footprint(inputs).kept > SHARE * self.backend.memory_bytes()

    @functools.cached_property
    def is_large(self) -> bool:
        """Whether the workload's own size is judged once and in pieces."""
        return self.exceeds(
            [torch.empty(s.shape, dtype=getattr(torch, s.dtype), device="meta") for s in self.workload.inputs]
        )

    @property
    def is_light(self) -> bool:
        """Whether all cases but one use few samples: forwards are slow, or take much memory."""
        return self.backend.small_cases or self.is_large

    @functools.cached_property
    def most_samples(self) -> int:
        """So many samples can be verified without pieces; two in any case."""
        one = 1 if self.batch is None else self.batch.size(self.example)
        return max(2, int(SHARE * self.backend.memory_bytes() * one / max(self._footprint.kept, 1)))

    @functools.cached_property
    def smaller(self) -> Reference:
        """The reference for odd and prime sizes, as far as it takes them."""
        return self.resized(sizes.odd(self.problem, self.workload, self.example))

    # ---- answers -------------------------------------------------------------------------------------

    def inputs(self, seed: int) -> Tensors:
        """Inputs of the workload as the problem makes them, on the device; large ones on the CPU."""
        made = self._drawn(seed, "cpu" if self.is_large else self.backend.torch_device)
        if self.is_large:
            self.backend.release_memory()
        return made

    def few_inputs(self, seed: int, samples: int) -> Tensors:
        """The first samples of what `inputs` gives, on the device; there has to be a batch."""
        assert self.batch is not None
        few = self._here(self.batch.first(self._drawn(seed, None), samples))
        if self.is_large:
            self.backend.release_memory()
        return few

    def _drawn(self, seed: int, device: str | None) -> Tensors:
        """Inputs of the workload, drawn on this device: on the CPU a large one's take longer than all else."""
        return problem.inputs(self.problem, self.workload, seed, device, self.backend.torch_device)

    def oracle(self, state: State, inputs: Tensors) -> Answer:
        """The answer in float64 for these parameter values and inputs. Raises UnjudgeableError where there is none."""
        try:
            with made_in_float64():
                return self._answer(self.double, state, [doubled(x) for x in self._here(inputs)])
        except ProblemError as fault:
            raise UnjudgeableError(f"{self.problem.path}: it cannot be computed in float64: {fault}") from fault

    def eager(self, state: State, inputs: Tensors) -> Answer:
        """The answer as the user gets it."""
        return self._answer(self.model, state, self._here(inputs))

    def _answer(self, model: nn.Module, state: State, inputs: Tensors) -> Answer:
        load_state(model, state)
        with torch.no_grad():
            return Answer.of(problem.forward(self.problem, model, inputs), model).clone()

    def expectation(self, state: State, inputs: Tensors, oracle: Answer | None = None) -> Expectation:
        """What a candidate's answer for these parameter values and inputs, none of which are large, has to be.

        `oracle` is the one in float64, where it has been computed already.
        """
        oracle = oracle or self.oracle(state, inputs)
        with Operators() as operators:
            eager = self.eager(state, inputs)
        errors = self.own_errors(state, inputs, oracle, eager)
        ties = self.ties(state, inputs, oracle)
        parts = [
            self._expected(name, exact, mine, error, tie)
            for (name, mine), exact, error, tie in zip(eager.values(), oracle.tensors, errors, ties, strict=True)
        ]
        changed = {k: y for k, y in eager.buffers.items() if k in state and not same_bits(y, state[k])}
        moved = self._moved_errors(state, inputs, oracle)[1] if changed and self.workload.dtype == "float64" else {}
        for name, value in changed.items():
            error = max(_error(value, oracle.buffers[name]), moved.get(name, 0.0))
            parts.append(self._expected(f"buffer {name}", oracle.buffers[name], value, error, None))
        return Expectation(eager.structure, tuple(parts), operators.large())

    def _expected(
        self, name: str, oracle: torch.Tensor, eager: torch.Tensor, error: float, tie: torch.Tensor | None
    ) -> ExpectedTensor:
        if not eager.is_floating_point():
            return ExpectedTensor(name, oracle, eager, 0.0, 0.0, tie)
        allowed = allowed_error(error, largest_finite(oracle), eager.dtype, self.error_budget)
        return ExpectedTensor(name, oracle, eager, error, allowed)

    def own_errors(self, state: State, inputs: Tensors, oracle: Answer, eager: Answer) -> list[float]:
        """E of each result: over the eager call and, where there is a batch, the eager call on its reverse.

        They run as the precision class says. Integer results have none.
        """
        with self.flags():
            match = self.workload.precision == "match"
            runs = [eager.tensors if match else self.eager(state, inputs).tensors]
            if self.batch is not None and self.batch.size(inputs) > 1:
                turned = self.eager(state, self.batch.reversed(inputs))
                runs.append(self.batch.results_reversed(turned.tensors))
            if self.workload.precision == "tf32":
                runs.append(self._in_tf32(state, inputs).tensors)
        load_state(self.model, state)
        errors = [max(_error(run[i], exact) for run in runs) for i, exact in enumerate(oracle.tensors)]
        if self.workload.dtype != "float64":
            return errors
        return [max(pair) for pair in zip(errors, self._moved_errors(state, inputs, oracle)[0], strict=True)]

    def _moved_errors(self, state: State, inputs: Tensors, oracle: Answer) -> tuple[list[float], dict[str, float]]:
        """E of each result and buffer in float64, than which no oracle is finer: what roundings of the values change.

        A right candidate errs as much, and so does the oracle.
        """
        rng = torch.Generator(self.device).manual_seed(self.seed + 19)
        moved = self.oracle(
            {k: _perturbed(v, rng) for k, v in state.items()}, [_perturbed(x, rng) for x in self._here(inputs)]
        )
        results = [_error(y, exact) for y, exact in zip(moved.tensors, oracle.tensors, strict=True)]
        return results, {name: _error(y, oracle.buffers[name]) for name, y in moved.buffers.items()}

    @contextlib.contextmanager
    def flags(self) -> Iterator[None]:
        """The precision flags under which the reference errs, by the precision class."""
        if self.workload.precision == "match":
            yield
            return
        with tf32_flags(False, False):
            yield

    @functools.cached_property
    def convolves_in_tf32(self) -> bool:
        """Whether convolutions of this workload, as the user runs them, round their operands to TF32.

        A library decides that by the sizes.
        """
        if self.workload.precision != "match" or not self._convolutions:
            return False
        inputs = self.example if self.is_large else self.inputs(self.seed + 13)
        answer, again = (self.eager(self.affine_state, inputs) for _ in range(2))
        with tf32_flags(torch.backends.cuda.matmul.allow_tf32, False):
            exact = self.eager(self.affine_state, inputs)
        same = same_answers if same_answers(answer, again) else nearly_same  # sums by atomic operations
        return not same(exact, answer)

    @property
    def _convolutions(self) -> dict[str, nn.Module]:
        return {name: m for name, m in self.model.named_modules() if isinstance(m, CONVOLUTIONS)}

    def tf32_errors(self, state: State, inputs: Tensors, oracle: Tensors) -> list[float]:
        """What convolutions whose operands are rounded to TF32 cost in each result."""
        weights = {f"{name}.weight".lstrip(".") for name in self._convolutions}
        rounded = {n: round_to_tf32(v) if n in weights and v.dtype is torch.float32 else v for n, v in state.items()}
        with rounded_operands(self.model, CONVOLUTIONS):
            found = self.eager(rounded, inputs)
        load_state(self.model, state)
        return [_error(y, exact) for y, exact in zip(found.tensors, oracle, strict=True)]

    def _in_tf32(self, state: State, inputs: Tensors) -> Answer:
        """The answer with operands rounded to TF32 and products in fp32, whatever this device's default is."""
        main = main_parameters(self.model)
        rounded = {n: round_to_tf32(v) if n in main and v.dtype is torch.float32 else v for n, v in state.items()}
        with rounded_operands(self.model):
            return self.eager(rounded, inputs)

    def ties(self, state: State, inputs: Tensors, oracle: Answer) -> list[torch.Tensor | None]:
        """For each integer result, which elements a rounding of the inputs decides; None for the others."""
        ties = [None if y.is_floating_point() else torch.zeros_like(y, dtype=torch.bool) for y in oracle.tensors]
        if all(tie is None for tie in ties):
            return list(ties)
        rng = torch.Generator(self.device).manual_seed(self.seed + 17)
        for _ in range(TIE_DRAWS):
            moved = self.oracle(state, [_perturbed(x, rng) for x in inputs])
            for tie, y, exact in zip(ties, moved.tensors, oracle.tensors, strict=True):
                if tie is not None:
                    tie |= y != exact if y.shape == exact.shape else True
        return list(ties)


def _perturbed(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """x in float64, every element off by up to some roundings of its dtype."""
    if not x.is_floating_point():
        return x
    noise = torch.rand(x.shape, generator=rng, device=x.device, dtype=torch.float64) * 2 - 1
    scale = x.double().abs().clamp_min(torch.finfo(x.dtype).tiny)
    return x.double() + 4 * torch.finfo(x.dtype).eps * scale * noise


def _error(y: torch.Tensor, oracle: torch.Tensor) -> float:
    return error_of(y, oracle) if y.is_floating_point() else 0.0
