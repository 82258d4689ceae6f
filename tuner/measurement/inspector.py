"""Services that say what a problem file says of itself, and what this machine is."""

from __future__ import annotations

from pathlib import Path

import torch

from tuner import backends, problem
from tuner.measurement.protocol.inspector import InterfaceAnswer
from tuner.records import Environment, TensorSpec, Workload


class Inspector:
    """Implements protocol.InspectorService."""

    def __init__(self, path: Path) -> None:
        self.problem = problem.load(path)

    def workload(self) -> Workload:
        return problem.default_workload(self.problem)

    def require(self, workload: Workload) -> None:
        """Raise ProblemError unless the reference takes this workload, with parameters that kernels take."""
        problem.require_parameters(self.problem, problem.require_takes(self.problem, workload), workload)

    def interface(self, workload: Workload) -> InterfaceAnswer:
        """Parameters, buffers and results at a workload, from a run without values. Raises ProblemError."""
        with torch.no_grad(), torch.device("meta"):
            model = problem.require_takes(self.problem, workload)
            inputs = [torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in workload.inputs]
            results = problem.tensors_of(problem.forward(self.problem, model, inputs))
        state = model.state_dict()
        return InterfaceAnswer([*state], [_spec(x) for x in state.values()], [_spec(x) for x in results])


def _spec(x: torch.Tensor) -> TensorSpec:
    return TensorSpec(shape=tuple(x.shape), dtype=str(x.dtype).removeprefix("torch."))


class Machine:
    """Implements protocol.MachineService."""

    def environment(self, torch_device: str) -> Environment:
        return backends.of(torch_device).environment()
