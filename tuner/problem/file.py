"""Problems: a reference `Model` with `get_inputs` and `get_init_inputs`, in the KernelBench format.

A problem file is the user's own code, so it is executed in worker processes only.
torch is imported inside the functions.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tuner.errors import ProblemError
from tuner.records import TensorSpec, Workload

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Problem:
    """A problem file, executed. `model` builds the reference."""

    path: Path
    sha256: str
    model: Callable[..., torch.nn.Module]
    get_inputs: Callable[[], list[torch.Tensor]]
    get_init_inputs: Callable[[], list[Any]]


def execute(path: Path, name: str) -> ModuleType:
    """Execute a Python file as the module `name`; what it raises propagates."""
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # pickling and dataclasses look the module up
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    return module


def load(path: Path) -> Problem:
    """Execute a problem file. Raises ProblemError when it raises or lacks a part of the format."""
    if not os.path.isfile(path):
        raise ProblemError(f"{path}: no such problem file")
    try:
        module = execute(path, f"tuner_problem_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}")
    except BaseException as error:  # the user's own code: whatever it raises, the file is at fault
        raise ProblemError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    for name in ("Model", "get_inputs", "get_init_inputs"):
        if not callable(getattr(module, name, None)):
            raise ProblemError(f"{path}: defines no {name}; a problem file has Model, get_inputs and get_init_inputs")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Problem(path, sha256, module.Model, module.get_inputs, module.get_init_inputs)


def default_workload(problem: Problem) -> Workload:
    """The workload that the problem's own get_init_inputs and get_inputs describe."""
    specs = tuple(TensorSpec(shape=shape, dtype=dtype) for shape, dtype in map(_spec, _own_inputs(problem)))
    try:
        init = json.loads(json.dumps(list(problem.get_init_inputs()), allow_nan=False))
    except BaseException as error:  # the user's own code again
        raise ProblemError(
            f"{problem.path}: get_init_inputs wants to return plain values: {type(error).__name__}: {_line(error)}"
        ) from error
    if not specs:
        raise ProblemError(f"{problem.path}: get_inputs returns no tensor")
    return Workload(init=tuple(init), inputs=specs)


def reference(problem: Problem, init: Sequence[Any], seed: int) -> torch.nn.Module:
    """The reference on the CPU, its parameters drawn from `seed`.

    Raises ProblemError when Model refuses these arguments.
    """
    import torch

    torch.manual_seed(seed)
    try:
        return problem.model(*init).eval()
    except BaseException as error:
        raise ProblemError(f"{problem.path}: Model refuses init {list(init)}: {_line(error)}") from error


def inputs(problem: Problem, workload: Workload, seed: int, device: str) -> list[torch.Tensor]:
    """Inputs for `workload`: the problem's own where shapes and dtypes are its own, else uniform in [0, 1)."""
    import torch

    torch.manual_seed(seed)
    own = _own_inputs(problem)
    if [_spec(x) for x in own] != [(spec.shape, spec.dtype) for spec in workload.inputs]:
        own = [torch.rand(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in workload.inputs]
    return [x.to(device) for x in own]


def _own_inputs(problem: Problem) -> list[torch.Tensor]:
    """What get_inputs returns. Raises ProblemError unless that is tensors."""
    import torch

    try:
        own = list(problem.get_inputs())
    except BaseException as error:  # the user's own code
        raise ProblemError(f"{problem.path}: get_inputs: {type(error).__name__}: {_line(error)}") from error
    odd = next((x for x in own if not isinstance(x, torch.Tensor)), None)
    if odd is not None:
        raise ProblemError(f"{problem.path}: get_inputs wants to return tensors, not {type(odd).__name__}")
    return own


def _spec(x: torch.Tensor) -> tuple[tuple[int, ...], str]:
    return tuple(x.shape), str(x.dtype).removeprefix("torch.")


def forward(problem: Problem, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The reference's forward. Raises ProblemError unless it gives one floating-point tensor."""
    import torch

    try:
        result = model(*inputs)
    except BaseException as error:  # the user's own code
        shapes = [list(x.shape) for x in inputs]
        raise ProblemError(f"{problem.path}: Model refuses inputs of shapes {shapes}: {_line(error)}") from error
    if not isinstance(result, torch.Tensor) or not result.is_floating_point():
        found = str(result.dtype) if isinstance(result, torch.Tensor) else type(result).__name__
        raise ProblemError(f"{problem.path}: Model wants to return one tensor of floating-point numbers, not {found}")
    return result


def require_takes(problem: Problem, workload: Workload) -> None:
    """Raise ProblemError unless the reference takes this workload: constructor's arguments and shapes.

    Runs the reference on the `meta` device: shapes are computed, values are not.
    """
    import torch

    with torch.no_grad(), torch.device("meta"):
        model = reference(problem, workload.init, 0)
        forward(problem, model, [torch.empty(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs])


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
