"""Problems: a reference `Model` with `get_inputs` and `get_init_inputs`, in the KernelBench format.

A problem file is the user's own code, so it is executed in worker processes only.
torch is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tuner.errors import DeviceFailed, ProblemError, line_of, words_of
from tuner.problem.results import a, tensors_of
from tuner.records import FLOATING, TensorSpec, Workload, names_of

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
        raise ProblemError(f"{place(path, error)}: {line_of(error)}") from error
    for name in ("Model", "get_inputs", "get_init_inputs"):
        if not callable(getattr(module, name, None)):
            raise ProblemError(f"{path}: defines no {name}; a problem file has Model, get_inputs and get_init_inputs")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Problem(path, sha256, module.Model, module.get_inputs, module.get_init_inputs)


def default_workload(problem: Problem) -> Workload:
    """The workload that the problem's own get_init_inputs and get_inputs describe."""
    specs = tuple(TensorSpec(shape=shape, dtype=dtype) for shape, dtype in map(_spec, _drawn(problem, 0, "meta")))
    if not specs:
        raise ProblemError(f"{problem.path}: get_inputs returns no tensor")
    return Workload(init=_own_init(problem), inputs=specs)


def _own_init(problem: Problem) -> tuple[Any, ...]:
    """What get_init_inputs returns, as JSON keeps it. Raises ProblemError unless it is a list of plain values."""
    wanted = f"{problem.path}: get_init_inputs wants to return a list of plain values"
    try:
        own = problem.get_init_inputs()
    except BaseException as error:  # the user's own code
        raise ProblemError(f"{place(problem.path, error)}: get_init_inputs: {_said(error)}") from error
    if not isinstance(own, list | tuple):  # a text or a mapping would be taken apart
        raise ProblemError(f"{wanted}, not one {type(own).__name__}")
    try:
        return tuple(json.loads(json.dumps(own, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as error:
        raise ProblemError(f"{wanted}: {_said(error)}") from error


def construct(make: Callable[..., torch.nn.Module], workload: Workload) -> torch.nn.Module:
    """What `make`, a Model or a ModelNew, constructs for a workload, in the dtype that the workload casts models to.

    All models are made here, the reference's and the candidate's, so that no two are of different dtypes.
    Raises TypeError for what is no module, and whatever `make` does.
    """
    import torch

    model = make(*workload.init)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"made {a(type(model).__name__)}, not a torch.nn.Module")
    return model if workload.cast is None else model.to(getattr(torch, workload.cast))


def reference(problem: Problem, workload: Workload, seed: int) -> torch.nn.Module:
    """The reference on the CPU, its parameters drawn from `seed`, in the mode that its constructor leaves it in.

    Raises ProblemError when Model refuses the workload's arguments, or makes no module.
    """
    import torch

    torch.manual_seed(seed)
    try:
        return construct(problem.model, workload)
    except BaseException as error:
        said = f"Model refuses init {list(workload.init)}: {_said(error)}"
        constructor = getattr(problem.model, "__init__", None) if isinstance(problem.model, type) else problem.model
        raise ProblemError(f"{place(problem.path, error, constructor)}: {said}") from error


def inputs(
    problem: Problem, workload: Workload, seed: int, device: str | None, drawn_on: str = "cpu"
) -> list[torch.Tensor]:
    """Inputs for `workload`: the problem's own where the shapes are its own, else values like them.

    Floating-point ones are converted to the workload's dtypes.

    They are drawn on `drawn_on`, a GPU in a small part of the time, and end on `device`, or with None where they
    were drawn. A get_inputs that cannot be had there is drawn on the CPU.
    """
    import torch

    own = _drawn(problem, seed, drawn_on)
    if [_kind(*_spec(x)) for x in own] != [_kind(spec.shape, spec.dtype) for spec in workload.inputs]:
        own = alike(own, workload.inputs)
    given = zip(own, workload.inputs, strict=True)
    return [x.to(device or own[0].device, getattr(torch, spec.dtype)) for x, spec in given]


def _kind(shape: tuple[int, ...], dtype: str) -> tuple[tuple[int, ...], str]:
    """Equal for tensors of which one is the other in another floating-point dtype."""
    return shape, "float" if dtype in FLOATING else dtype


def _drawn(problem: Problem, seed: int, device: str) -> list[torch.Tensor]:
    """What get_inputs returns for a seed, made on `device`; on the CPU where it cannot be had there.

    On the meta device tensors have no values, and no cost. Where there is no GPU, the CPU stands for one
    that get_inputs names.
    """
    import torch

    from tuner.problem.named_gpu import OnGpu

    if device != "cpu":
        torch.manual_seed(seed)
        with contextlib.suppress(ProblemError), torch.device(device), _where(device == "meta", OnGpu("meta")):
            own = _own_inputs(problem)
            return own if device == "meta" else [x.to(device) for x in own]
    torch.manual_seed(seed)
    with _where(not torch.cuda.is_available(), OnGpu("cpu")):
        return [x.cpu() for x in _own_inputs(problem)]


def _where(condition: bool, context: contextlib.AbstractContextManager[Any]) -> contextlib.AbstractContextManager[Any]:
    return context if condition else contextlib.nullcontext()


def alike(
    own: Sequence[torch.Tensor], wanted: Sequence[TensorSpec], rng: torch.Generator | None = None
) -> list[torch.Tensor]:
    """Tensors of the wanted shapes and dtypes on the device of `own`, each element drawn from those of its own tensor.

    So integers stay in range and probabilities are some. Where the own tensor has no two
    values, or there is none, floating-point numbers are uniform in [0, 1).
    """
    import torch

    drawn = []
    for number, spec in enumerate(wanted):
        dtype = getattr(torch, spec.dtype)
        values = own[number].flatten() if number < len(own) else torch.empty(0)
        device = values.device
        if dtype.is_floating_point and (values.numel() == 0 or bool((values == values[0]).all())):
            drawn.append(torch.rand(spec.shape, generator=rng, device=device).to(dtype))
            continue
        if values.numel() == 0:
            drawn.append(torch.zeros(spec.shape, dtype=dtype, device=device))
            continue
        at = torch.randint(values.numel(), spec.shape, generator=rng, device=device)
        if not values.is_floating_point() and at.numel() > 1:  # the extremes decide whether an index is in range
            at.view(-1)[0], at.view(-1)[1] = values.long().argmin(), values.long().argmax()
        drawn.append(values[at].to(dtype))
    return drawn


def _own_inputs(problem: Problem) -> list[torch.Tensor]:
    """What get_inputs returns, numbers as tensors. Raises ProblemError unless it is a list of what is taken."""
    import torch

    wanted = f"{problem.path}: get_inputs wants to return a list of tensors, not"
    try:
        own = problem.get_inputs()
    except BaseException as error:  # the user's own code
        raise ProblemError(f"{place(problem.path, error)}: get_inputs: {_said(error)}") from error
    if not isinstance(own, list | tuple):
        raise ProblemError(f"{wanted} one {type(own).__name__}")
    if any(isinstance(x, torch.Tensor) for x in own):  # a number beside tensors is one of a single element
        like = next((x.dtype for x in own if isinstance(x, torch.Tensor) and x.is_floating_point()), torch.float32)
        own = [torch.tensor(x, dtype=like if isinstance(x, float) else None) if _is_number(x) else x for x in own]
    for x in own:
        if not isinstance(x, torch.Tensor):
            raise ProblemError(f"{wanted} one with {a(type(x).__name__)} in it")
        if not _is_taken(x):
            raise ProblemError(f"{wanted} one with a {x.layout} tensor of {x.dtype} in it")
    return list(own)


def _is_number(x: object) -> bool:
    return type(x) in (bool, int, float)


def _is_taken(x: torch.Tensor) -> bool:
    """Whether tensors of this kind are compared and copied: dense ones of ordinary numbers or truth values."""
    import torch

    taken = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8)
    return x.layout == torch.strided and (
        x.dtype in taken or x.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    )


def _spec(x: torch.Tensor) -> tuple[tuple[int, ...], str]:
    return tuple(x.shape), str(x.dtype).removeprefix("torch.")


def forward(problem: Problem, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Any:
    """The reference's result: a tensor, or tuples and lists of tensors. Raises ProblemError for anything else."""
    import torch

    try:
        result = model(*inputs)
    except BaseException as error:  # the user's own code
        shapes = f"{[list(x.shape) for x in inputs]}{_unusual_dtypes(inputs)}"
        if type(error).__name__ == "OutOfMemoryError":  # no word about the problem: others may hold the memory
            raise DeviceFailed(f"{problem.path}: no memory for inputs of shapes {shapes}: {_said(error)}") from error
        said = f"Model refuses inputs of shapes {shapes}: {_said(error)}"
        raise ProblemError(f"{place(problem.path, error, model.forward)}: {said}") from error
    try:
        tensors = tensors_of(result)
    except TypeError as error:
        raise ProblemError(f"{problem.path}: Model wants to return a tensor or several, but it {error}") from error
    kind = next((type(t) for t in tensors if isinstance(t, torch.nn.Parameter)), None)
    if kind is not None:  # a step of a caller's optimizer would change the result
        raise ProblemError(f"{problem.path}: Model returns a {kind.__name__} itself, not a plain tensor; `.clone()` it")
    odd = next((t for t in tensors if not _is_taken(t)), None)
    if odd is not None:
        raise ProblemError(f"{problem.path}: Model returns a {odd.layout} tensor of {odd.dtype}, which is not compared")
    return result


def _unusual_dtypes(inputs: Sequence[torch.Tensor]) -> str:
    """ " in float64", say; nothing for float32 alone, in which most are."""
    names = names_of([_spec(x)[1] for x in inputs])
    return "" if names in ("", "float32") else f" in {names}"


def require_takes(problem: Problem, workload: Workload) -> torch.nn.Module:
    """Raise ProblemError unless the reference, which is returned, takes this workload: arguments and inputs.

    Tried on the `meta` device, where shapes are computed and values are not. What refuses
    that, as a constructor that reads a value does, is tried in earnest on the CPU.
    """
    import torch

    try:
        with torch.no_grad(), torch.device("meta"):
            model = reference(problem, workload, 0)
            forward(problem, model, [torch.empty(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs])
            return model
    except ProblemError as fault:
        if not _only_on_meta(fault):
            raise
        with torch.no_grad():
            model = reference(problem, workload, 0)
            forward(problem, model, inputs(problem, workload, 0, "cpu"))
            return model


def require_parameters(problem: Problem, model: torch.nn.Module, workload: Workload) -> None:
    """Raise ProblemError for a parameter of another dtype than kernels take beside these inputs."""
    for name, parameter in model.named_parameters():
        dtype = str(parameter.dtype).removeprefix("torch.")
        if dtype != workload.dtype:
            mends = parameter.is_floating_point() and workload.dtype != "float32"
            raise ProblemError(
                f"{problem.path}: parameter {name} is of {dtype}; kernels take parameters of {workload.dtype} beside "
                f"inputs of {workload.dtype_names}"
                + (f"; `dtype: {workload.dtype}` in a config casts the model, too" if mends else "")
            )


def _only_on_meta(fault: ProblemError) -> bool:
    """Whether a fault is the meta device's own: it holds no values."""
    return fault.__cause__ is not None and "meta" in words_of(fault.__cause__).lower()


def place(path: Path, error: BaseException, called: object = None) -> str:
    """A problem's file, with the line of it that an exception came from, else that `called` is defined in."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f"{path}:{lines[-1]}" if lines and lines[-1] else definition(path, called)


def definition(path: Path, function: object) -> str:
    """A problem's file, with the line that a function begins in, where it is in this file."""
    code = getattr(function, "__code__", None)
    return f"{path}:{code.co_firstlineno}" if code is not None and code.co_filename == str(path) else str(path)


def _said(error: BaseException) -> str:
    """What an exception of the user's own code says, in a line."""
    first = next(iter(words_of(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
