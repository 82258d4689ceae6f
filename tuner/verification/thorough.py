"""The winner's thorough check: cases A to I with several seeds, repeats, and compute-sanitizer.

Cases E to I leave the values and shapes that a search measures: constant inputs,
denormals and huge magnitudes, NaN and Inf, other layouts, other sizes. A case on
which the float32 reference itself fails cannot be judged; it says so and counts
as passed. For another layout or size a candidate may refuse with a clear error.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from tuner import problem as problems
from tuner.records import Case, Correctness, Workload
from tuner.verification.suite import (
    TRIAL_RECIPES,
    Prepared,
    Recipe,
    Suite,
    Tensors,
    Wrong,
    error_of,
    judged,
    load_state,
    own_work,
    same_bits,
)

SEEDS = 3
BATCH = 4  # samples of a case that is not about the batch
REPEATS = 100
REPEAT_BATCH = 2  # on a CPU
FEW = 8  # with fewer results than this, the reference's error is the largest of several draws
MAGNITUDES = (1e18, 1e15, 1e12, 1e9)  # the first at which the reference is right is judged
USELESS = 1e-2  # a reference with this error, relative to the largest result, proves nothing
REFUSALS = (RuntimeError, ValueError, NotImplementedError)
PRIMES = (5, 3, 11, 7, 13, 17, 19)  # a batch of 5, then one for each further dimension
SANITIZER_TIMEOUT_S = 150.0

A, B, C, D = TRIAL_RECIPES


# ---- normalisation, intercepted --------------------------------------------------------------------


@dataclass
class Norm:
    """One call of a normalising function: `grouped` is (rows, groups, ...), normalised over all but the first two."""

    x: torch.Tensor
    grouped: torch.Tensor
    weight: torch.Tensor | None  # broadcasts against `grouped`
    bias: torch.Tensor | None
    eps: float

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(range(2, self.grouped.dim()))

    def mean(self, of: torch.Tensor | None = None) -> torch.Tensor:
        return (self.grouped if of is None else of).mean(self.dims, keepdim=True)

    def variance(self, mean: torch.Tensor) -> torch.Tensor:
        return self.mean((self.grouped - mean) ** 2)

    def finish(self, mean: torch.Tensor, variance: torch.Tensor, eps: float | None = None) -> torch.Tensor:
        y = (self.grouped - mean) * (variance + (self.eps if eps is None else eps)).rsqrt()
        y = y if self.weight is None else y * self.weight
        y = y if self.bias is None else y + self.bias
        return y.reshape(self.x.shape)


_NORM_ARGUMENTS = {
    F.group_norm: ("x", "groups", "weight", "bias", "eps"),
    torch.group_norm: ("x", "groups", "weight", "bias", "eps"),
    F.layer_norm: ("x", "shape", "weight", "bias", "eps"),
    torch.layer_norm: ("x", "shape", "weight", "bias", "eps"),
    F.instance_norm: ("x", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
}
_OTHER_NAMES = {"input": "x", "num_groups": "groups", "normalized_shape": "shape"}


def norm_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Norm | None:
    """What a call normalises, when it is of a normalising function."""
    names = _NORM_ARGUMENTS.get(func)
    if names is None:
        return None
    given = dict(zip(names, args, strict=False)) | {_OTHER_NAMES.get(k, k): v for k, v in kwargs.items()}
    x, weight, bias = given["x"], given.get("weight"), given.get("bias")
    if "shape" in given:
        shape = tuple(given["shape"])
        grouped, affine = x.reshape(-1, 1, *shape), (1, 1, *shape)
    else:
        groups = given.get("groups") or x.shape[1]
        grouped = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        affine = (1, groups, x.shape[1] // groups, *(1 for _ in x.shape[2:]))
    weight = None if weight is None else weight.view(affine)
    bias = None if bias is None else bias.view(affine)
    return Norm(x, grouped, weight, bias, given.get("eps", 1e-5))


class Normalising(TorchFunctionMode):
    """Inside, every normalisation is computed by `compute`."""

    def __init__(self, compute: Callable[[Norm], torch.Tensor]) -> None:
        super().__init__()
        self.compute, self.calls = compute, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = norm_of(func, args, kwargs or {})
        if norm is None:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        return self.compute(norm)


def _rounded_mean(norm: Norm) -> torch.Tensor:
    """Normalisation whose mean is off by one rounding to float32."""
    mean = norm.mean()
    return norm.finish(mean * (1 + torch.finfo(torch.float32).eps), norm.variance(mean))


# ---- other sizes -----------------------------------------------------------------------------------


def takes(problem: problems.Problem, workload: Workload) -> torch.Size | None:
    """The shape of the reference's result for a workload, computed on the meta device; None when it refuses."""
    try:
        with torch.no_grad(), torch.device("meta"):
            model = problem.model(*workload.init).eval()
            result = model(*[torch.empty(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs])
    except Exception:  # the user's own code, asked for what it may not be made for
        return None
    return result.shape if isinstance(result, torch.Tensor) and result.numel() > 0 else None


def batch_dim(problem: problems.Problem, workload: Workload) -> int | None:
    """Which dimension of the result is the batch: the one that follows the inputs' first."""
    two, three = takes(problem, workload.with_batch(2)), takes(problem, workload.with_batch(3))
    if two is None or three is None or len(two) != len(three):
        return None
    return next((d for d in range(len(two)) if (two[d], three[d]) == (2, 3)), None)


def odd(problem: problems.Problem, workload: Workload) -> Workload:
    """Every size that the reference lets go replaced by an odd or prime one, few samples among them."""

    def choices(dim: int, size: int) -> list[int]:
        wanted = PRIMES[dim % len(PRIMES)]
        return [wanted] if dim == 0 else sorted(PRIMES, key=lambda p: abs(p - wanted))

    return _with_sizes(problem, workload, choices)


def smallest(problem: problems.Problem, workload: Workload) -> Workload:
    """A batch of 2, and in every other dimension the least size that the reference takes."""
    return _with_sizes(problem, workload, lambda dim, size: [2] if dim == 0 else [*range(1, min(size, max(PRIMES)))])


def _with_sizes(
    problem: problems.Problem, workload: Workload, choices: Callable[[int, int], Sequence[int]]
) -> Workload:
    """For each dimension the first of its choices that the reference takes; its own size when it takes none."""
    keys = sorted({(d, n) for spec in workload.inputs for d, n in enumerate(spec.shape)}, key=lambda k: (k[0] == 1, k))
    for key in keys:  # the channels last, when all else is small
        for size in choices(*key):
            changed = workload.resized({key: size})
            if takes(problem, changed) is not None and (size == key[1] or _runs(problem, changed)):
                workload = changed
                break
    return workload


def _runs(problem: problems.Problem, workload: Workload) -> bool:
    """Whether the reference really takes these sizes: on the meta device a convolution's channels go unchecked,
    and before PyTorch 2.12 a kernel larger than its input."""
    try:
        with torch.no_grad():
            inputs = [torch.zeros(s.shape, dtype=getattr(torch, s.dtype)) for s in workload.inputs]
            problem.model(*workload.init).eval()(*inputs)
    except Exception:  # the user's own code, asked for what it may not be made for
        return False
    return True


def one_channel_a_group(problem: problems.Problem, workload: Workload) -> Workload | None:
    """The constructor's argument that is a GroupNorm's number of groups, replaced by its number of channels."""
    norm = next((m for m in _meta(problem, workload).modules() if isinstance(m, nn.GroupNorm)), None)
    if norm is None or norm.num_groups == norm.num_channels:
        return None
    given = whole_init(problem, workload)
    for i, value in reversed(list(enumerate(given))):
        if type(value) is int and value == norm.num_groups:
            init = (*given[:i], norm.num_channels, *given[i + 1 :])
            changed = workload.with_init(init)
            if takes(problem, changed) is not None:
                built = [m for m in _meta(problem, changed).modules() if isinstance(m, nn.GroupNorm)]
                if built[0].num_groups == built[0].num_channels == norm.num_channels:
                    return changed
    return None


def flipped(problem: problems.Problem, workload: Workload) -> Iterator[tuple[int, Workload]]:
    """The workload with each true or false of the constructor's arguments turned round."""
    given = whole_init(problem, workload)
    for i, value in enumerate(given):
        if isinstance(value, bool):
            init = (*given[:i], not value, *given[i + 1 :])
            changed = workload.with_init(init)
            if takes(problem, changed) is not None:
                yield i, changed


def whole_init(problem: problems.Problem, workload: Workload) -> tuple[Any, ...]:
    """The constructor's arguments with the defaults of those left out."""
    try:
        bound = inspect.signature(problem.model).bind(*workload.init)
    except (TypeError, ValueError):
        return workload.init
    bound.apply_defaults()
    return bound.args


def _meta(problem: problems.Problem, workload: Workload) -> nn.Module:
    with torch.device("meta"):
        return problem.model(*workload.init)


# ---- the check -------------------------------------------------------------------------------------


@dataclass
class Item:
    """One case of the thorough check, ready to be judged; without `case` it is only a note."""

    name: str
    suite: Suite  # whose constructor's arguments the candidate is built with
    case: Prepared | None
    note: str = ""
    may_refuse: bool = False


class Thorough:
    """Cases E to I of one problem, workload and device, as `suite` has A to D."""

    def __init__(self, suite: Suite) -> None:
        self.suite, self.problem, self.workload = suite, suite.problem, suite.workload
        self.rng = torch.Generator(suite.device).manual_seed(suite.seed + 1)

    @functools.cached_property
    def plain(self) -> Tensors:
        given = problems.inputs(self.problem, self.workload, self.suite.seed + 2, str(self.suite.device))
        return [x[:BATCH].clone() for x in given]

    def items(self) -> Iterator[Item]:
        """The cases, each prepared when it is asked for."""
        for make in (self._constant, self._extreme, self._not_finite, self._layouts, self._sizes):
            items = make()
            while True:
                with torch.no_grad():
                    item = next(items, None)
                if item is None:
                    break
                yield item

    def _inputs(self) -> Tensors:
        """Fresh inputs: the plain ones, each moved on by some elements."""
        moved = [int(torch.randint(x.numel(), (1,), generator=self.rng, device=x.device)) for x in self.plain]
        return [x.flatten().roll(by).view_as(x) for x, by in zip(self.plain, moved, strict=True)]

    def _case(self, name: str, inputs: Tensors) -> Prepared:
        """A case with random affine parameters on these inputs."""
        load_state(self.suite.reference, self.suite.state)
        state, _ = A.make(self.suite.reference, self.suite.state, inputs, self.rng)
        return self.suite.prepare(name, state, inputs)

    def _conditioned(self, case: Prepared) -> Prepared:
        """The case with what one rounding of a mean costs allowed, too.

        Where a variance is nearly 0, that rounding decides the error, and the
        reference's own may be 0 by luck.
        """
        load_state(self.suite.double, case.state)
        with Normalising(_rounded_mean):
            cost = error_of(self.suite.double(*[x.double() for x in case.inputs]), case.oracle)
        if cost < float("inf"):
            case.allowed = max(case.allowed, self.suite.error_budget * cost)
        return case

    def _judgeable(self, case: Prepared, may_refuse: bool = False) -> Item:
        """The item of a case; only a note where the reference itself fails."""
        finite = case.oracle[case.oracle.isfinite()]
        scale = finite.abs().max().item() if finite.numel() else 1.0
        if not case.reference_error <= USELESS * scale:
            return Item(case.name, self.suite, None, "not judged: the float32 reference itself is not right here")
        return Item(case.name, self.suite, case, may_refuse=may_refuse)

    def _constant(self) -> Iterator[Item]:
        for name, value in (("E constant", 0.5), ("E all zero", 0.0)):
            inputs = [torch.full_like(x, value) for x in self.plain]
            yield self._judgeable(self._conditioned(self._case(name, inputs)))

    def _extreme(self) -> Iterator[Item]:
        denormals = [x * 1e-40 for x in self._inputs()]
        yield self._judgeable(self._conditioned(self._case("F denormals", denormals)))
        inputs = self._inputs()
        for magnitude in MAGNITUDES:
            item = self._judgeable(self._conditioned(self._case("F magnitude", [x * magnitude for x in inputs])))
            if item.case is not None:
                break
        if magnitude != MAGNITUDES[0]:
            item.note = f"not judged at {MAGNITUDES[0]:g}: the float32 reference itself is not right there" + (
                f"; judged at {magnitude:g}" if item.case is not None else ""
            )
        yield item

    def _not_finite(self) -> Iterator[Item]:
        for name, value in (("G NaN in one sample", float("nan")), ("G Inf in one sample", float("inf"))):
            inputs = self._inputs()
            for x in inputs:
                if x.is_floating_point():
                    x[x.shape[0] // 2].view(-1)[x[0].numel() // 3] = value
            yield self._judgeable(self._case(name, inputs))

    def _layouts(self) -> Iterator[Item]:
        def spaced(x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x, x], -1)[..., 0]

        def shifted(x: torch.Tensor) -> torch.Tensor:
            return torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)[1:].view_as(x).copy_(x)

        def turned(x: torch.Tensor) -> torch.Tensor:
            return x.transpose(0, -1).contiguous().transpose(0, -1)

        def channels_last(x: torch.Tensor) -> torch.Tensor:
            layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim(), torch.contiguous_format)
            return x.contiguous(memory_format=layout)

        ways: list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = [
            ("H non-contiguous", spaced), ("H transposed", turned), ("H offset of one element", shifted),
        ]  # fmt: skip
        if any(x.dim() in (4, 5) for x in self.plain):
            ways.append(("H channels-last", channels_last))
        for name, way in ways:
            yield self._judgeable(self._case(name, [way(x) for x in self._inputs()]), may_refuse=True)

    def _sizes(self) -> Iterator[Item]:
        small = odd(self.problem, self.workload)
        yield from self._resized("I batch 1", self.workload.with_batch(1), (A,))
        yield from self._resized("I odd sizes", small, (A, B))
        yield from self._resized("I smallest sizes", smallest(self.problem, self.workload), (A, D), watch=False)
        altered = one_channel_a_group(self.problem, small)
        if altered is not None:
            yield from self._altered("I one channel a group", altered)
        for i, changed in flipped(self.problem, small):
            yield from self._altered(f"I init[{i}]={changed.init[i]}", changed)

    def _resized(self, name: str, workload: Workload, recipes: Sequence[Recipe], watch: bool = True) -> Iterator[Item]:
        if takes(self.problem, workload) is None:
            yield Item(name, self.suite, None, "the reference does not take it")
            return
        for recipe in recipes:
            case = self._drawn(workload, recipe, f"{name}, {recipe.name[0]}")
            case.large = case.large if watch else None  # a parameter may be larger than what is computed here
            yield self._judgeable(case, may_refuse=True)

    def _drawn(self, workload: Workload, recipe: Recipe, name: str) -> Prepared:
        """A case of another workload; the reference's error on few results is that of several draws."""

        def values() -> Tensors:
            return [
                torch.rand(s.shape, dtype=getattr(torch, s.dtype), generator=self.rng, device=self.suite.device)
                for s in workload.inputs
            ]

        case = self.suite.draw(recipe, values(), self.rng, name)
        for _ in range(-(-FEW // case.oracle.numel()) - 1):
            other = self.suite.draw(recipe, values(), self.rng, name)
            case.reference_error = max(case.reference_error, other.reference_error)
            case.allowed = max(case.allowed, other.allowed)
        return self._conditioned(case)

    def _altered(self, name: str, workload: Workload) -> Iterator[Item]:
        """Cases for other constructor's arguments."""
        suite = Suite(self.problem, workload, str(self.suite.device), self.suite.seed, self.suite.error_budget, ())
        inner = Thorough(suite)
        for recipe in (A, C, D):
            case = inner._drawn(workload, recipe, f"{name}, {recipe.name[0]}")
            yield inner._judgeable(case, may_refuse=True)

    # ---- judging a candidate -----------------------------------------------------------------------

    def check(
        self, model_new: Callable[..., nn.Module], on_case: Callable[[str], None] = lambda name: None
    ) -> tuple[list[Case], set[str]]:
        """Every case of E to I, then the repeats; and what was left to PyTorch meanwhile."""
        built: tuple[Suite, nn.Module] | None = None
        fallbacks: set[str] = set()
        results = []
        for item in self.items():
            on_case(item.name)
            if item.case is None:
                results.append(Case(name=item.name, ok=True, detail=item.note))
                continue
            try:
                if built is None or built[0] is not item.suite:
                    built = item.suite, item.suite.build(model_new)
            except REFUSALS as error:
                results.append(_raised(item, error))
                continue
            results.append(judge(built[1], item))
            fallbacks |= item.suite.fallbacks
        on_case("repeats")
        results.append(self._repeats(self.suite.build(model_new)))
        return results, fallbacks

    def _repeats(self, model: nn.Module) -> Case:
        """The same call again and again must give the same bits."""
        name = f"{REPEATS} repeats"
        case = self.suite.cases[0]
        batch = REPEAT_BATCH if self.suite.device.type == "cpu" else case.inputs[0].shape[0]
        inputs = [x[:batch].clone() for x in case.inputs]
        load_state(model, case.state)
        try:
            first = self.suite.call(model, inputs)
            for i in range(1, REPEATS):
                if not same_bits(self.suite.call(model, inputs), first):
                    return Case(name=name, ok=False, detail=f"call {i + 1} gives other bits than the first")
        except Exception as error:  # whatever a candidate raises
            return Case(name=name, ok=False, detail=f"{type(error).__name__}: {error}"[:300])
        return Case(name=name, ok=True)


def judge(model: nn.Module, item: Item) -> Case:
    """One case of one model; a clear error is an answer where `may_refuse`."""
    assert item.case is not None
    try:
        y = item.suite.run_case(model, item.case)
    except Wrong as wrong:
        return Case(name=item.name, ok=False, detail=str(wrong))
    except REFUSALS as error:
        return _raised(item, error)
    verdict = judged(item.case, error_of(y, item.case.oracle))
    return verdict.named(item.name, item.note)


def _raised(item: Item, error: Exception) -> Case:
    """What an exception means: a refusal where one may refuse, unless the device no longer works."""
    text = str(error).strip().splitlines()
    line = text[0][:300] if text else ""
    refused = item.may_refuse and bool(line) and _works(item.suite.device)
    detail = f"refused: {line}" if refused else f"{type(error).__name__}: {line}"
    return Case(name=item.name, ok=refused, detail=detail)


def _works(device: torch.device) -> bool:
    if device.type == "cuda":
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return False
    return True


def check(
    suite: Suite,
    model_new: Callable[..., nn.Module],
    on_case: Callable[[str], None] = lambda name: None,
    seeds: int = SEEDS,
) -> Correctness:
    """Cases A to D with several seeds, E to I, and the repeats, for one candidate."""
    model = suite.build(model_new)
    found = suite.check(model, on_case)
    fallbacks = suite.fallbacks.copy()
    cases = [case for case in found.cases if case.name != "own work"]
    light = suite.workload
    if suite.device.type == "cpu" and all(spec.shape[0] > BATCH for spec in light.inputs):
        light = light.with_batch(BATCH)
    for number in range(2, seeds + 1):
        other = Suite(suite.problem, light, str(suite.device), suite.seed + 7919 * number, suite.error_budget)
        more = other.check(other.build(model_new), on_case)
        fallbacks |= other.fallbacks
        cases += [c.named(f"{c.name}, seed {number}") for c in more.cases if c.name != "own work"]
        found = found.joined_with(more)
    more_cases, others = Thorough(suite).check(model_new, on_case)
    cases += [*more_cases, own_work(fallbacks | others)]
    return found.with_cases(cases)


# ---- compute-sanitizer -----------------------------------------------------------------------------

FOUND = 77  # the exit code by which the tool says that it found something


def sanitize(problem: problems.Problem, workload: Workload, file: Path, torch_device: str) -> list[Case]:
    """memcheck and racecheck of one forward on a small workload; a note where the tool is missing."""
    if not torch_device.startswith("cuda"):
        return []
    small = odd(problem, workload.with_batch(2))
    tool = shutil.which("compute-sanitizer")
    return [_sanitized(tool, check, problem.path, small, file, torch_device) for check in ("memcheck", "racecheck")]


def _sanitized(tool: str | None, check: str, problem: Path, workload: Workload, file: Path, device: str) -> Case:
    name = f"compute-sanitizer {check}"
    if tool is None:
        return Case(name=name, ok=True, detail="skipped: compute-sanitizer was not found")
    command = [
        tool, "--tool", check, "--error-exitcode", str(FOUND), "--report-api-errors", "no",
        sys.executable, "-m", "tuner.verification.thorough",
        str(problem), workload.model_dump_json(), str(file), device,
    ]  # fmt: skip
    # Without PyTorch's pool of memory each tensor has bounds of its own that the tool can see.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=environment,
            timeout=SANITIZER_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Case(name=name, ok=True, detail=f"skipped: not done within {SANITIZER_TIMEOUT_S:g} s")
    if done.returncode == 0:
        return Case(name=name, ok=True)
    lines = [line.strip("= ") for line in (done.stdout + done.stderr).splitlines() if line.strip("= ")]
    if done.returncode != FOUND:  # the forward itself refused these sizes, or the tool does not work here
        return Case(name=name, ok=True, detail=f"skipped: {lines[-1][:200] if lines else done.returncode}")
    told = next((line for line in lines if "Invalid" in line or "hazard" in line or "Error" in line), lines[-1])
    return Case(name=name, ok=False, detail=told[:300])


def forward_once(problem: str, workload: str, file: str, device: str) -> None:
    """What runs under the tool: two forwards of a candidate."""
    loaded, wanted = problems.load(Path(problem)), Workload.model_validate_json(workload)
    torch.manual_seed(0)
    model = problems.execute(Path(file), "tuner_candidate").ModelNew(*wanted.init).eval().to(device)
    inputs = problems.inputs(loaded, wanted, 0, device)
    with torch.no_grad():
        for _ in range(2):
            model(*inputs)
    torch.cuda.synchronize()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        forward_once(*sys.argv[1:5])
