"""Verification: is a candidate right, by the float64 oracle and the reference's own error?

A `Suite` holds, for one problem, workload and device, a set of cases: parameter
values, inputs, the float64 result Y and the error E that the reference itself
makes on them. A candidate is right when

    max |y - Y| <= error_budget * E + 4 * eps * max |Y|

with identical NaN and Inf masks, exact type, shape, dtype and device, nothing
else written, and the same bits when called again. It runs inside a worker.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tuner import problem as problems
from tuner.errors import ProblemError
from tuner.records import Case, Correctness, Workload

NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
EDGE = 16.0  # cases B and C: how far the ends of a normalisation's biases stand out
OFFSET = 1e3  # case C: what a one-pass variance does not survive
LIGHT_BATCH = 8  # on a CPU, cases after the first use at most this many samples: one case there takes seconds
GUARD_BYTES = 4096
MAX_SHIFT = 64  # elements
KERNELBENCH_TOLERANCE = 1e-4

State = dict[str, torch.Tensor]
Tensors = list[torch.Tensor]


class Wrong(Exception):
    """A candidate failed verification; the text says how."""


@dataclass
class Prepared:
    """A case ready to be run: parameter values, inputs, oracle and what is allowed."""

    name: str
    state: State
    inputs: Tensors
    oracle: torch.Tensor
    eager: torch.Tensor
    reference_error: float
    allowed: float
    large: int | None = None  # elements from which on PyTorch's operators do the candidate's work; None: not judged


# ---- cases -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a case is made: from the reference's state and plain inputs to the case's own."""

    name: str
    make: Callable[[nn.Module, State, Tensors, torch.Generator], tuple[State, Tensors]]


def _main_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters of everything but normalisation layers."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0] not in norms}


def _random_affine(model: nn.Module, state: State, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """A: affine parameters and biases random, not their defaults."""
    drawn = {}
    for name, value in state.items():
        if value.dim() == 1:
            noise = torch.randn(value.shape, generator=rng, device=rng.device).to(value)
            centre = 1.0 if name.endswith("weight") else 0.0
            drawn[name] = centre + 0.5 * noise
        else:
            drawn[name] = value.clone()
    return drawn, inputs


def _own_scale(model: nn.Module, state: State, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """B: every sample with its own scale and offset; the last channel's result the lowest, the first one's highest."""
    state, _ = _random_affine(model, state, inputs, rng)
    for name in _main_parameters(model):  # some weights change, most stay: what is kept of them is stale
        if state[name].dim() > 1:
            turned = torch.rand(state[name].shape, generator=rng, device=rng.device) < 1 / 16
            state[name] = torch.where(turned, -state[name], state[name])
    return _with_edges(model, state, EDGE), own_scales(inputs, rng)


def _with_edges(model: nn.Module, state: State, edge: float) -> State:
    """The state with `edge` added to the first of a normalisation's biases and taken from the last.

    The ends are what a loop's bounds miss, and a minimum over the channels is seldom found there by chance.
    """
    main = _main_parameters(model)
    for name, value in state.items():
        if name not in main and name.endswith("bias") and value.numel() > 1:
            value.view(-1)[0] += edge
            value.view(-1)[-1] -= edge
    return state


def own_scales(inputs: Tensors, rng: torch.Generator) -> Tensors:
    """Every sample times its own scale, spread over [1/16, 16], plus its own offset in [-2, 2]."""
    scaled = []
    for x in inputs:
        per_sample = (x.shape[0],) + (1,) * (x.dim() - 1)
        ranks = torch.randperm(x.shape[0], generator=rng, device=rng.device).view(per_sample)
        spread = (ranks + torch.rand(per_sample, generator=rng, device=rng.device)) / x.shape[0]
        scale = torch.exp2(spread * 8 - 4).to(x)
        offset = (torch.rand(per_sample, generator=rng, device=rng.device) * 4 - 2).to(x)
        scaled.append(x * scale + offset)
    return scaled


def _common_offset(model: nn.Module, state: State, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """C: a large common offset ahead of the normalisation, by the biases where there are any; B's edges, reversed."""
    state = _with_edges(model, _random_affine(model, state, inputs, rng)[0], -EDGE)
    biases = [name for name in _main_parameters(model) if name.endswith("bias") and state[name].dim() == 1]
    for name in biases:
        state[name] = state[name] + OFFSET
    return state, inputs if biases else [x + OFFSET for x in inputs]


def _near_eps(model: nn.Module, state: State, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """D: weights so small that the variance ahead of the normalisation is near its eps."""
    state, _ = _random_affine(model, state, inputs, rng)
    scales: list[float] = []

    def look(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        deviation = args[0][:4].double().var().item() ** 0.5
        scales.append(module.eps**0.5 / deviation if deviation > 0 else 1.0)  # type: ignore[operator]

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, NORMS)]
    load_state(model, state)
    model(*[x[:4] for x in inputs])
    for hook in hooks:
        hook.remove()
    scale = min(scales, default=1e-3)
    return {n: v * scale if n in _main_parameters(model) else v for n, v in state.items()}, inputs


TRIAL_RECIPES = (
    Recipe("A random affine", _random_affine),
    Recipe("B own scale", _own_scale),
    Recipe("C common offset", _common_offset),
    Recipe("D variance near eps", _near_eps),
)


# ---- the reference's own error ---------------------------------------------------------------------


@contextlib.contextmanager
def tf32_flags(matmul: bool, cudnn: bool) -> Iterator[None]:
    """The TF32 switches set to these values, and put back."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """float32 rounded to TF32's 10 mantissa bits, to nearest with ties away (PTX `cvt.rna.tf32.f32`)."""
    bits = x.contiguous().view(torch.int32)
    rounded = ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    return torch.where(x.isfinite(), rounded, x)


def _round_operands(model: nn.Module) -> list[Any]:
    """Hooks that round the inputs of every multiplying layer to TF32; weights are the caller's to round."""

    def pre(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(round_to_tf32(x) for x in args)

    multiplying = (nn.Linear, nn.modules.conv._ConvNd)
    return [m.register_forward_pre_hook(pre) for m in model.modules() if isinstance(m, multiplying)]


def load_state(model: nn.Module, state: State) -> None:
    """Copy `state` into the model's parameters and buffers in place."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.data.copy_(state[name])  # as optimisers and users may write: uncounted by the version counter


def error_of(y: torch.Tensor, oracle: torch.Tensor) -> float:
    """Largest |y - Y| over the elements that are finite in both; inf when another element differs in kind."""
    y = y.double()
    finite = oracle.isfinite()
    same_kind = (y.isnan() == oracle.isnan()) & ((y == oracle) | ~oracle.isinf()) & (y.isfinite() == finite)
    if not bool(same_kind.all()):
        return math.inf
    if not bool(finite.any()):
        return 0.0
    return (y - oracle)[finite].abs().max().item()


def _reversed_error(y: torch.Tensor, oracle: torch.Tensor, batch: int) -> float:
    """The error of a result on the reversed batch; the result's batch dimension is the one that fits."""
    dims = [d for d in range(y.dim()) if y.shape[d] == batch]
    return min((error_of(y.flip(d), oracle) for d in dims), default=0.0)


class Suite:
    """The prepared cases of one problem, workload and device.

    `seed` is drawn by the caller and unknown to candidates. Oracle results are
    float64 tensors that stay allocated as long as the suite, so that no
    allocation of a candidate is ever given their memory; what was used on the
    way is returned to the driver.
    """

    def __init__(
        self,
        problem: problems.Problem,
        workload: Workload,
        device: str,
        seed: int,
        error_budget: float = 8.0,
        recipes: Sequence[Recipe] = TRIAL_RECIPES,
    ) -> None:
        self.problem, self.workload, self.device, self.seed = problem, workload, torch.device(device), seed
        self.error_budget = error_budget
        self.fallbacks: set[str] = set()  # operators of PyTorch that did the last candidate's work
        self.returned: torch.Tensor | None = None  # what the last call gave, poisoned
        self.guarded: list[torch.Tensor] = []  # the last candidate's parameters
        if recipes:
            problems.check(problem, workload)
        self.reference = problems.reference(problem, workload.init, seed).to(self.device)
        self.state = {k: v.detach().clone() for k, v in self.reference.state_dict().items()}
        rng = torch.Generator(self.device).manual_seed(seed)
        with torch.no_grad():
            cases = [self._prepare(r, rng, light=i > 0) for i, r in enumerate(recipes)]
        # Where float32 overflows and float64 does not, the reference's error is infinite: anything would pass.
        self.cases = [case for case in cases if math.isfinite(case.reference_error)]
        if cases and not self.cases:
            raise ProblemError(f"{problem.path}: no case can judge it: the float32 reference overflows in each")
        load_state(self.reference, self.state)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _prepare(self, recipe: Recipe, rng: torch.Generator, light: bool) -> Prepared:
        seed = int(torch.randint(2**31, (1,), generator=rng, device=rng.device).item())
        plain = problems.inputs(self.problem, self.workload, seed, str(self.device))
        if light and self.device.type == "cpu":
            plain = [x[:LIGHT_BATCH].clone() for x in plain]
        return self.draw(recipe, plain, rng)

    def draw(self, recipe: Recipe, plain: Tensors, rng: torch.Generator, name: str | None = None) -> Prepared:
        """The case that `recipe` makes of plain inputs."""
        load_state(self.reference, self.state)
        state, inputs = recipe.make(self.reference, self.state, plain, rng)
        return self.prepare(name or recipe.name, state, inputs)

    def prepare(self, name: str, state: State, inputs: Tensors) -> Prepared:
        """Oracle, reference error and budget for these parameter values and inputs."""
        oracle = self._oracle(state, inputs)
        load_state(self.reference, state)
        with Operators() as operators:
            eager = problems.forward(self.problem, self.reference, inputs)
        error = self._reference_error(state, inputs, oracle, eager)
        scale = oracle[oracle.isfinite()].abs().max().item() if bool(oracle.isfinite().any()) else 0.0
        allowed = self.error_budget * error + 4 * torch.finfo(eager.dtype).eps * scale
        return Prepared(name, state, inputs, oracle, eager.clone(), error, allowed, operators.large())

    @functools.cached_property
    def double(self) -> nn.Module:
        """The reference in float64."""
        return copy.deepcopy(self.reference).double()

    def _oracle(self, state: State, inputs: Tensors) -> torch.Tensor:
        load_state(self.double, state)
        result: torch.Tensor = self.double(*[x.double() for x in inputs])
        return result

    def _reference_error(self, state: State, inputs: Tensors, oracle: torch.Tensor, eager: torch.Tensor) -> float:
        """E: over the eager call and the eager call on the reversed batch, as the precision class runs them."""
        precision = self.workload.precision
        flags = contextlib.nullcontext() if precision == "match" else tf32_flags(False, False)
        batch = inputs[0].shape[0]
        with flags:
            first = eager if precision == "match" else self.reference(*inputs)
            error = error_of(first, oracle)
            error = max(error, _reversed_error(self.reference(*[x.flip(0) for x in inputs]), oracle, batch))
            if precision == "tf32":
                # What TF32 costs, whatever this device's default is: operands rounded, products in fp32.
                hooks = _round_operands(self.reference)
                main = _main_parameters(self.reference)
                load_state(self.reference, {n: round_to_tf32(v) if n in main else v for n, v in state.items()})
                error = max(error, error_of(self.reference(*inputs), oracle))
                for hook in hooks:
                    hook.remove()
                load_state(self.reference, state)
        return error

    # ---- judging a candidate -----------------------------------------------------------------------

    def build(self, model_new: Callable[..., nn.Module]) -> nn.Module:
        """Construct a candidate as KernelBench does and prove that its parameters are the reference's.

        Same seed, same constructor arguments: names, order, shapes and initial
        values must agree. Its parameters are then moved between guard zones.
        """
        torch.manual_seed(self.seed)
        model = model_new(*self.workload.init).eval()
        mine, theirs = model.state_dict(), self.state
        if list(mine) != list(theirs):
            raise Wrong(f"parameters are {list(mine)}, the reference's are {list(theirs)}")
        for name, value in theirs.items():
            if mine[name].shape != value.shape or mine[name].dtype != value.dtype:
                raise Wrong(f"parameter {name} is {tuple(mine[name].shape)}, the reference's {tuple(value.shape)}")
            if not torch.equal(mine[name].cpu(), value.cpu()):
                raise Wrong(f"parameter {name} is initialised with other values than the reference's")
        model = model.to(self.device)
        self.guarded = []
        for parameter in model.parameters():
            parameter.data = guarded_copy(parameter.data)
            self.guarded.append(parameter.data)
        return model

    def check(self, model: nn.Module, on_case: Callable[[str], None] = lambda name: None) -> Correctness:
        """Run every case. A case that fails is in the result; nothing is raised for a wrong value."""
        results: list[Case] = []
        self.fallbacks.clear()
        ratio = 0.0
        for i, case in enumerate(self.cases):
            on_case(case.name)
            try:
                y = self.run_case(model, case, repeat=i == 0)
            except Wrong as wrong:
                results.append(Case(name=case.name, ok=False, detail=str(wrong)))
                continue
            error = error_of(y, case.oracle)
            ratio = max(ratio, error_ratio(error, case))
            results.append(judged(case, error))
        agrees = all(case.ok for case in results) and self.agrees(model)
        results.append(own_work(self.fallbacks))
        return Correctness(cases=tuple(results), error_ratio=_finite(ratio), agrees_with_eager=agrees)

    def agrees(self, model: nn.Module) -> bool:
        """Whether KernelBench would score a candidate as right: 1e-4 from eager, initial parameters, plain inputs."""
        inputs = self.cases[0].inputs  # A leaves them as the problem makes them
        load_state(model, self.state)
        with torch.no_grad():
            y = model(*inputs)
        tolerance = KERNELBENCH_TOLERANCE
        return torch.allclose(y, self.plain_eager, rtol=tolerance, atol=tolerance, equal_nan=True)

    @functools.cached_property
    def plain_eager(self) -> torch.Tensor:
        """Eager's result with the initial parameters on plain inputs."""
        load_state(self.reference, self.state)
        with torch.no_grad():
            result: torch.Tensor = self.reference(*self.cases[0].inputs)
        return result

    def run_case(self, model: nn.Module, case: Prepared, repeat: bool = False) -> torch.Tensor:
        """One guarded call, one plain call, and with `repeat` a third that must give the same bits.

        Raises Wrong for anything but a wrong value, and returns the plain result.
        """
        load_state(model, case.state)
        before = [p.clone() for p in model.parameters()]
        operators, guards, everywhere = Operators(), GuardedAllocations(), Everywhere()
        poisoned = self.call(model, case.inputs, operators, guards, everywhere)
        self.check_form(poisoned, case)
        if case.large is not None:
            self.fallbacks.update(operators.beyond(case.large), everywhere.beyond(case.large))
        if not guards.intact():
            raise Wrong("wrote outside the tensors that it allocated")
        error = error_of(poisoned, case.oracle)
        if not error <= case.allowed:
            unwritten = int((poisoned.isnan() & ~case.oracle.isnan()).sum())
            hint = f" ({unwritten} elements are NaN: not written, or read before written)" if unwritten else ""
            raise Wrong(f"error {error:.3g} against the oracle, allowed {case.allowed:.3g}{hint}")
        plain = self.call(model, case.inputs)
        self.check_form(plain, case)
        if repeat:
            held = self.returned  # alive, so that no allocation is given its memory
            if not same_bits(self.call(model, case.inputs), plain):
                raise Wrong("the same call twice gives different bits")
            if held is not None and held.numel() and _memory(held) == _memory(self.returned):
                raise Wrong("returns the memory of its last result, which is not its own any more")
        self.returned = None
        if not all(guards_intact(parameter) for parameter in self.guarded):
            raise Wrong("wrote outside its parameters")
        for (name, parameter), old in zip(model.named_parameters(), before, strict=True):
            if not same_bits(parameter, old):
                raise Wrong(f"changed its parameter {name}")
        return plain

    def call(self, model: nn.Module, inputs: Tensors, *modes: contextlib.AbstractContextManager[Any]) -> torch.Tensor:
        """One forward under `modes` on guarded copies of `inputs`, read back in stream order.

        On CUDA the inputs become valid only after a delay on the current stream,
        and the result is read on that stream without waiting for the device:
        work that ignores the stream's order sees NaN or is not seen.
        """
        given = [guarded_like(x) for x in inputs]
        if self.device.type == "cuda":
            torch.cuda._sleep(1_000_000)
        for mine, x in zip(given, inputs, strict=True):
            mine.copy_(x)
        with torch.no_grad(), contextlib.ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            y = model(*given)
            if type(y) is not torch.Tensor:
                raise Wrong(f"returned a {type(y).__name__}, not a plain tensor")
            result = y.clone()  # at once: leaving a mode may take long enough for what is late to be there
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        for mine, x in zip(given, inputs, strict=True):
            if not same_bits(mine, x):
                raise Wrong("modified its input")
            if not guards_intact(mine):
                raise Wrong("wrote outside its input")
        poison(y)
        self.returned = y
        return result

    def check_form(self, y: torch.Tensor, case: Prepared) -> None:
        if type(y) is not torch.Tensor:
            raise Wrong(f"returned a {type(y).__name__}, not a plain tensor")
        if y.shape != case.oracle.shape:
            raise Wrong(f"shape {tuple(y.shape)}, expected {tuple(case.oracle.shape)}")
        if y.dtype != case.eager.dtype:
            raise Wrong(f"dtype {y.dtype}, expected {case.eager.dtype}")
        if y.device != case.eager.device:
            raise Wrong(f"on {y.device}, expected {case.eager.device}")


def _memory(y: torch.Tensor | None) -> int:
    return 0 if y is None else y.untyped_storage().data_ptr()


def error_ratio(error: float, case: Prepared) -> float:
    """The candidate's error over the reference's own; over what is allowed at E = 0 when E is 0."""
    if error == 0:
        return 0.0
    return error / case.reference_error if case.reference_error > 0 else error / max(case.allowed, 1e-300)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 1e300


def own_work(fallbacks: set[str]) -> Case:
    """The case that a candidate passes by leaving no more than products to PyTorch."""
    detail = f"falls back to PyTorch's own {', '.join(sorted(fallbacks))}" if fallbacks else ""
    return Case(name="own work", ok=not fallbacks, detail=detail)


def judged(case: Prepared, error: float) -> Case:
    """What an error means for a case."""
    ok = error <= case.allowed
    known = {
        k: v
        for k, v in (("error", error), ("allowed", case.allowed), ("reference_error", case.reference_error))
        if math.isfinite(v)
    }
    detail = "" if ok else f"error {error:.3g} against the oracle, allowed {case.allowed:.3g}"
    return Case(name=case.name, ok=ok, detail=detail, **known)


# ---- guard zones -----------------------------------------------------------------------------------


def _guarded_bytes(size: int, device: torch.device) -> torch.Tensor:
    """`size` bytes between two guard zones, every byte 0xFF: a NaN in any float type."""
    return torch.full((size + 2 * GUARD_BYTES,), 0xFF, dtype=torch.uint8, device=device)


def guarded_like(x: torch.Tensor) -> torch.Tensor:
    """An unwritten tensor of x's shape, dtype, strides and alignment between guard zones; all of it NaN."""
    extent = int(1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))) if x.numel() else 0
    shift = int(x.storage_offset()) % MAX_SHIFT  # what an allocation gives is aligned; the offset decides the rest
    buffer = _guarded_bytes((shift + extent) * x.element_size(), x.device)
    inner = buffer[GUARD_BYTES : buffer.numel() - GUARD_BYTES].view(x.dtype)
    return inner.as_strided(x.shape, x.stride(), inner.storage_offset() + shift)


def guards_intact(x: torch.Tensor) -> bool:
    """Whether the zones around a tensor from `guarded_like` still hold what was put there."""
    buffer = torch.empty(0, dtype=torch.uint8, device=x.device).set_(x.untyped_storage())
    return bool((buffer[:GUARD_BYTES] == 0xFF).all()) and bool((buffer[-GUARD_BYTES:] == 0xFF).all())


def poison(y: torch.Tensor) -> None:
    """Overwrite a result that is no longer needed: memory of a later allocation must not hold a right one."""
    if y.numel():
        extent = int(1 + sum((n - 1) * s for n, s in zip(y.shape, y.stride(), strict=True))) * y.element_size()
        whole = torch.empty(0, dtype=torch.uint8, device=y.device)
        whole.set_(y.untyped_storage(), int(y.storage_offset()) * y.element_size(), (extent,), (1,)).fill_(0xFF)


def guarded_copy(x: torch.Tensor) -> torch.Tensor:
    return guarded_like(x).copy_(x)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal byte for byte (NaNs with equal bits are equal)."""
    return (
        torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
        if a.dim()
        else torch.equal(a.reshape(1).view(torch.uint8), b.reshape(1).view(torch.uint8))
    )


_FILLED = {  # as _ALLOCATIONS, but their values stay
    torch.ops.aten.zeros.default,
    torch.ops.aten.zeros_like.default,
    torch.ops.aten.new_zeros.default,
    torch.ops.aten.ones.default,
    torch.ops.aten.full.default,
    torch.ops.aten.full_like.default,
    torch.ops.aten.new_full.default,
}
_ALLOCATIONS = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
}


class GuardedAllocations(TorchDispatchMode):
    """Inside, every uninitialised tensor asked for from Python is NaN and lies between guard zones."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func not in _ALLOCATIONS | _FILLED or result.layout != torch.strided or result.numel() == 0:
            return result
        guarded = guarded_like(result) if func in _ALLOCATIONS else guarded_copy(result)
        self.buffers.append(guarded)
        return guarded

    def intact(self) -> bool:
        """Whether every guard zone still holds what was put there."""
        return all(guards_intact(tensor) for tensor in self.buffers)


# ---- whose work it is ------------------------------------------------------------------------------

# What a candidate may leave to PyTorch on tensors of any size: products, a bias added to them, moving data.
_ALLOWED = {
    "add", "addmv", "alias", "as_strided", "cat", "clone", "constant_pad_nd", "contiguous", "copy", "detach",
    "empty", "empty_like", "empty_strided", "expand", "fill", "flip", "full", "full_like", "index_select",
    "lift_fresh", "matmul", "mv", "narrow", "new_empty", "new_empty_strided", "new_full", "new_zeros", "ones",
    "ones_like", "permute", "record_stream", "repeat", "reshape", "reshape_alias", "resize", "roll", "select",
    "set", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "to", "to_copy", "transpose", "unbind",
    "unfold", "unsafe_view", "unsqueeze", "view", "view_as", "view_dtype", "zero", "zeros", "zeros_like",
}  # fmt: skip


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


class Operators(TorchDispatchMode):
    """Notes the operators of PyTorch that are called inside, with the size of their largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0  # elements of the largest product's result
        self.largest = 1  # of the other operators' calls
        self.work: dict[str, int] = {}  # what the other operators were given, over all calls: pieces add up

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        plain = name.strip("_")
        size = max((t.numel() for t in _tensors([*args, *(kwargs or {}).values(), result])), default=0)
        if _is_product(plain):
            self.products = max([self.products, *(t.numel() for t in _tensors(result))])
        elif plain not in _ALLOWED:
            self.work[name] = self.work.get(name, 0) + size
            self.largest = max(self.largest, size)
        return result

    def large(self) -> int:
        """The size of what the reference computes: its product's result, or its largest tensor without one."""
        return self.products or self.largest

    def beyond(self, size: int) -> list[str]:
        """The operators that were called on `size` elements or more, at once or piece by piece."""
        return _beyond(self.work, size)


def _beyond(work: dict[str, int], size: int) -> list[str]:
    return sorted(name for name, total in work.items() if total >= size)


class Everywhere:
    """Notes PyTorch's operators by its execution trace: on every thread, and where its modes are disabled.

    What a product (a convolution, say) calls inside itself is the product's.
    """

    def __init__(self) -> None:
        self.work: dict[str, int] = {}  # as in `Operators`

    def __enter__(self) -> Everywhere:
        handle, self.path = tempfile.mkstemp(prefix=f"tuner-worker-{os.getpid()}-", suffix=".json")
        os.close(handle)
        self.observer = torch.profiler.ExecutionTraceObserver()
        self.observer.register_callback(self.path)
        self.observer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.observer.stop()
        self.observer.unregister_callback()
        nodes = json.loads(Path(self.path).read_text())["nodes"]
        os.unlink(self.path)
        # PyTorch 2.1 has "parent" and "input_shapes", later ones "ctrl_deps" and "inputs": {"shapes": ...}.
        caller: dict[int, int] = {node["id"]: node.get("ctrl_deps", node.get("parent", 0)) for node in nodes}
        names = {node["id"]: node["name"].removeprefix("aten::") for node in nodes}

        def in_a_product(at: int) -> bool:
            while at in names and caller[at] != at:
                at = caller[at]
                if _is_product(names.get(at, "").strip("_")):
                    return True
            return False

        for node in nodes:
            name = names[node["id"]]
            plain = name.strip("_")
            if not node["name"].startswith("aten::") or plain in _ALLOWED or _is_product(plain) or _is_composite(name):
                continue
            if not in_a_product(node["id"]):
                self.work[name] = self.work.get(name, 0) + max(_elements(_shapes(node, k)) for k in ("input", "output"))

    def beyond(self, size: int) -> list[str]:
        """As `Operators.beyond`."""
        return _beyond(self.work, size)


def _shapes(node: dict[str, Any], which: str) -> Any:
    held = node[f"{which}s"]
    return held["shapes"] if isinstance(held, dict) else node[f"{which}_shapes"]


def _is_product(plain: str) -> bool:
    return "conv" in plain or plain.endswith(("mm", "linear"))


@functools.cache
def _is_composite(name: str) -> bool:
    """Whether an operator only calls others, which are seen themselves."""
    packet = getattr(torch.ops.aten, name, None)
    qualified = [f"aten::{name}" + ("" if o == "default" else f".{o}") for o in (packet.overloads() if packet else ())]
    known = [q for q in qualified if torch._C._dispatch_has_kernel(q)]  # the rest are TorchScript's own
    return any(torch._C._dispatch_has_kernel_for_dispatch_key(q, "CompositeImplicitAutograd") for q in known)


def _elements(shapes: Any) -> int:
    """The elements of the largest of these shapes, nested as the trace has them."""
    if all(isinstance(n, int) for n in shapes):
        return math.prod(shapes)
    return max((_elements(s) for s in shapes if isinstance(s, list)), default=0)
