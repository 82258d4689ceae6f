"""The reference on one device: its result in float64, its own error, and what a right result is by them."""

from __future__ import annotations

import contextlib
import copy
import functools

import torch
from torch import nn

from tuner import backends
from tuner import problem as problems
from tuner.records import Workload
from tuner.verification.criterion import (
    Expectation,
    allowed_error,
    error_of,
    round_to_tf32,
    rounded_operands,
    tf32_flags,
)
from tuner.verification.operators import Operators
from tuner.verification.parameters import State, Tensors, load_state, main_parameters


class Reference:
    """A problem's reference for one workload. Its parameters are drawn from `seed`; `state` holds those values.

    Raises ProblemError when the reference refuses the workload.
    """

    def __init__(
        self, problem: problems.Problem, workload: Workload, device: str, seed: int, error_budget: float
    ) -> None:
        self.problem, self.workload = problem, workload
        self.backend, self.device = backends.of(device), torch.device(device)
        self.seed, self.error_budget = seed, error_budget
        self.model = problems.reference(problem, workload.init, seed).to(self.device)
        self.state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def resized(self, workload: Workload) -> Reference:
        """The reference of the same problem for another workload."""
        return Reference(self.problem, workload, self.backend.torch_device, self.seed, self.error_budget)

    @functools.cached_property
    def double(self) -> nn.Module:
        """The reference in float64."""
        return copy.deepcopy(self.model).double()

    def inputs(self, seed: int) -> Tensors:
        """Inputs of the workload on the device, as the problem makes them."""
        return problems.inputs(self.problem, self.workload, seed, self.backend.torch_device)

    def oracle(self, state: State, inputs: Tensors) -> torch.Tensor:
        """The result in float64 for these parameter values and inputs."""
        load_state(self.double, state)
        with torch.no_grad():
            result: torch.Tensor = self.double(*[x.double() for x in inputs])
        return result

    def eager(self, state: State, inputs: Tensors) -> torch.Tensor:
        """The result as the user gets it."""
        load_state(self.model, state)
        with torch.no_grad():
            return problems.forward(self.problem, self.model, inputs)

    def expectation(self, state: State, inputs: Tensors) -> Expectation:
        """What a candidate's result for these parameter values and inputs has to be."""
        oracle = self.oracle(state, inputs)
        with Operators() as operators:
            eager = self.eager(state, inputs)
        error = self._own_error(state, inputs, oracle, eager)
        allowed = allowed_error(error, oracle, eager.dtype, self.error_budget)
        return Expectation(oracle, eager.clone(), error, allowed, operators.large())

    def _own_error(self, state: State, inputs: Tensors, oracle: torch.Tensor, eager: torch.Tensor) -> float:
        """E: over the eager call and the eager call on the reversed batch, as the precision class runs them."""
        precision = self.workload.precision
        flags = contextlib.nullcontext() if precision == "match" else tf32_flags(False, False)
        batch = inputs[0].shape[0]
        with flags, torch.no_grad():
            first = eager if precision == "match" else self.model(*inputs)
            error = error_of(first, oracle)
            error = max(error, _reversed_error(self.model(*[x.flip(0) for x in inputs]), oracle, batch))
            if precision == "tf32":
                error = max(error, self._error_in_tf32(state, inputs, oracle))
        return error

    def _error_in_tf32(self, state: State, inputs: Tensors, oracle: torch.Tensor) -> float:
        """What TF32 costs, whatever this device's default is: operands rounded, products in fp32."""
        main = main_parameters(self.model)
        load_state(self.model, {n: round_to_tf32(v) if n in main else v for n, v in state.items()})
        with rounded_operands(self.model):
            error = error_of(self.model(*inputs), oracle)
        load_state(self.model, state)
        return error


def _reversed_error(y: torch.Tensor, oracle: torch.Tensor, batch: int) -> float:
    """The error of a result on the reversed batch; the result's batch dimension is the one that fits."""
    dims = [d for d in range(y.dim()) if y.shape[d] == batch]
    return min((error_of(y.flip(d), oracle) for d in dims), default=0.0)
