"""A problem's reference as an ATen graph: `torch.export` on the meta device, on the CPU where that fails.

Runs in a worker: it is the user's own code.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tuner import problem
from tuner.errors import ProblemError, line_of
from tuner.problem import Problem
from tuner.records import Workload

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

SEED = 0
LONGEST = 64  # numbers in a list that a forward makes a tensor of
BY_VALUES = (
    "by the values of a tensor; no draft can follow that: choose by torch.where, or bring a kernel of your own with "
    "`tuner new FOLDER --source FILE`"
)


def export(loaded: Problem, workload: Workload) -> tuple[ExportedProgram, torch.nn.Module]:
    """The reference, exported and functional, and the module itself (on the device that it could be exported on).

    Raises ProblemError where it takes the workload but cannot be exported.
    """
    import torch

    if not hasattr(torch, "export") or not hasattr(torch.export.ExportedProgram, "run_decompositions"):
        raise ProblemError(f"{loaded.path}: drafting a template wants PyTorch 2.6 or newer, not {torch.__version__}")
    problem.require_takes(loaded, workload)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return _exported(loaded, workload, "meta")
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt | MemoryError):
                raise
        try:
            return _exported(loaded, workload, "cpu")
        except ProblemError:
            raise
        except Exception as error:  # of the user's code, or the exporter's of it
            raise ProblemError(f"{problem.place(loaded.path, error)}: {_reason(error)}") from error


def _exported(loaded: Problem, workload: Workload, device: str) -> tuple[ExportedProgram, torch.nn.Module]:
    import torch

    model = problem.reference(loaded, workload, SEED)
    given = tuple(torch.empty(spec.shape, dtype=getattr(torch, spec.dtype), device=device) for spec in workload.inputs)
    with _numbers_stay_numbers():
        program = torch.export.export(model, given, strict=False)
    return program.run_decompositions({}), model


@contextlib.contextmanager
def _numbers_stay_numbers() -> Iterator[None]:
    """`torch.tensor(0.5)` in a forward becomes a fill, whose number is in the graph whatever the device.

    A list becomes a stack of fills.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Numbers(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is torch.tensor and args and (dtype := _dtype_of(args[0])) is not None:
                rest = {name: kwargs[name] for name in ("dtype", "device") if kwargs.get(name) is not None}
                return _filled(args[0], {"dtype": dtype, **rest})
            return func(*args, **kwargs)

    with Numbers():
        yield


def _filled(values: Any, rest: dict[str, Any]) -> torch.Tensor:
    import torch

    if isinstance(values, tuple | list):
        return torch.stack([_filled(value, rest) for value in values])
    return torch.full((), values, **rest)


def _dtype_of(values: Any) -> torch.dtype | None:
    """That torch.tensor gives numbers, or lists of them; None for anything else, and for long lists."""
    import torch

    kinds = {type(value) for value in _flat(values)}
    if not kinds or not kinds <= {bool, int, float} or len(list(_flat(values))) > LONGEST:
        return None
    if float in kinds:
        return torch.get_default_dtype()
    return torch.int64 if int in kinds else torch.bool


def _flat(values: Any) -> Iterator[Any]:
    if isinstance(values, tuple | list):
        for value in values:
            yield from _flat(value)
    else:
        yield values


def _reason(error: Exception) -> str:
    line = line_of(error)
    if any(word in line for word in ("DataDependent", "data-dependent", "Data-dependent")):
        return f"forward goes one way or another {BY_VALUES}"
    return f"forward cannot be exported: {line.split('. ')[0][:200]}"
