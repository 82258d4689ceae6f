"""The suite checks itself: wrong models that it has to reject, honest ones that it has to pass.

All are made from a problem's own reference, by changing what its calls compute or
what its result is. If a wrong one passes every case, the suite cannot judge this
problem. A flaw that a problem has no place for, or that changes nothing even in
float64, is left out with its reason.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from tuner import problem as problems
from tuner.records import Workload
from tuner.verification.suite import NORMS, Suite, Tensors, error_of, load_state, round_to_tf32, same_bits, tf32_flags
from tuner.verification.thorough import BATCH, Item, Norm, Normalising, Thorough, batch_dim, judge

EQUAL = 1e-9  # in float64, relative to the largest result: a flaw below this changes nothing

Forward = Callable[..., torch.Tensor]


class Inapplicable(Exception):
    """A problem has no place for a flaw; the text says why."""


@dataclass
class Flaw:
    """A way to be wrong (or a different way to be right): from the reference's forward to another.

    `make(model, forward)` returns the forward of the changed model or raises Inapplicable.
    A flaw of `rounding` vanishes in float64, so it is never left out for being none there.
    """

    name: str
    make: Callable[[nn.Module, Forward], Forward]
    rounding: bool = False


@dataclass
class SelfCheck:
    """What became of the wrong and the honest models of one problem and workload."""

    caught: dict[str, str] = field(default_factory=dict)  # wrong model -> the case that caught it
    missed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # wrong model -> why it is none here
    passed: list[str] = field(default_factory=list)  # honest models that passed
    refused: dict[str, str] = field(default_factory=dict)  # honest model -> the case that it failed, and how


# ---- changing what the reference's calls compute ---------------------------------------------------

_PRODUCTS = {
    F.linear, torch.conv1d, torch.conv2d, torch.conv3d,
    torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
    torch.matmul, torch.mm, torch.bmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm,
}  # fmt: skip
_ACTIVATIONS = {
    F.relu, torch.relu, torch.Tensor.relu, F.relu6, F.hardswish, F.hardtanh, F.gelu, F.silu, F.mish, F.elu, F.softplus,
    F.leaky_relu, torch.tanh, torch.sigmoid, F.hardsigmoid,
}  # fmt: skip
_REDUCTIONS = {
    getattr(owner, name)
    for owner in (torch, torch.Tensor)
    for name in ("mean", "sum", "min", "max", "amin", "amax", "logsumexp", "prod")
}


class Calls(TorchFunctionMode):
    """Inside, calls of `functions` go through `change(func, args, kwargs)`."""

    def __init__(self, functions: set[Any], change: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.functions, self.change, self.calls = functions, change, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in self.functions:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        return self.change(func, args, kwargs or {})


def _under(what: str, mode: Callable[[], Calls | Normalising]) -> Callable[[nn.Module, Forward], Forward]:
    """A forward under a mode; inapplicable where the reference never calls what the mode changes."""

    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> torch.Tensor:
            with mode() as active:
                y = forward(*inputs)
            if active.calls == 0:
                raise Inapplicable(f"the reference calls no {what}")
            return y

        return changed

    return make


def _norm(compute: Callable[[Norm], torch.Tensor]) -> Callable[[nn.Module, Forward], Forward]:
    return _under("normalisation", lambda: Normalising(compute))


def _product(change: Callable[[Any, Any, Any], Any]) -> Callable[[nn.Module, Forward], Forward]:
    return _under("product", lambda: Calls(_PRODUCTS, change))


def _tf32_product(func: Any, args: Any, kwargs: Any) -> Any:
    a, b, *rest = args
    if a.dtype is not torch.float32:
        return func(*args, **kwargs)
    return func(round_to_tf32(a), round_to_tf32(b), *rest, **kwargs)


def _bf16_product(func: Any, args: Any, kwargs: Any) -> Any:
    args = [x.bfloat16().to(x.dtype) if isinstance(x, torch.Tensor) else x for x in args]
    y = func(*args, **kwargs)
    return y.bfloat16().to(y.dtype)


def _no_activation(func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].clone()


def _short_reduction(func: Any, args: Any, kwargs: Any) -> Any:
    """A reduction that misses the last element of its last dimension."""
    x, *rest = args
    dims = rest[0] if rest else kwargs.get("dim")
    dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    last = max(d % x.dim() for d in dims)
    if x.shape[last] > 1:
        x = x.narrow(last, 0, x.shape[last] - 1)
    return func(x, *rest, **kwargs)


# ---- normalisation gone wrong ----------------------------------------------------------------------


def _one_pass(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean, (n.mean(n.grouped * n.grouped) - mean * mean).clamp_min(0))


def _with_eps(eps: Callable[[float], float]) -> Callable[[Norm], torch.Tensor]:
    def compute(n: Norm) -> torch.Tensor:
        mean = n.mean()
        return n.finish(mean, n.variance(mean), eps(n.eps))

    return compute


def _unbiased(n: Norm) -> torch.Tensor:
    mean = n.mean()
    count = n.grouped[0, 0].numel()
    return n.finish(mean, n.variance(mean) * (count / max(count - 1, 1)))


def _dropped_column(n: Norm) -> torch.Tensor:
    seen = n.grouped[..., :-1] if n.grouped.shape[-1] > 1 else n.grouped
    mean = n.mean(seen)
    return n.finish(mean, n.mean((seen - mean) ** 2))


def _stale(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean.roll(1, 0), n.variance(mean).roll(1, 0))


def _shifted(n: Norm) -> torch.Tensor:
    mean = n.mean()
    variance = n.variance(mean)
    return n.finish(mean + 0.01 * variance.sqrt(), variance)


def _whole_batch(n: Norm) -> torch.Tensor:
    mean = n.mean().mean(0, keepdim=True)
    return n.finish(mean, n.mean((n.grouped - mean) ** 2).mean(0, keepdim=True))


def _first_group(n: Norm) -> torch.Tensor:
    mean = n.mean()
    return n.finish(mean[:, :1], n.variance(mean)[:, :1])


def _merged(n: Norm) -> torch.Tensor:
    """Honest: deviations from a pivot, channel by channel backwards, merged by Chan's formula."""
    count, mean, square = 0, torch.zeros_like(n.mean()), torch.zeros_like(n.mean())
    for part in reversed(n.grouped.split(1, 2)):
        more = part[0, 0].numel()
        theirs = n.mean(part)
        delta = theirs - mean
        square = square + n.mean((part - theirs) ** 2) * more + delta * delta * (count * more / (count + more))
        mean = mean + delta * (more / (count + more))
        count += more
    return n.finish(mean, square / count)


# ---- the set ---------------------------------------------------------------------------------------


def _result(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[nn.Module, Forward], Forward]:
    return lambda model, forward: lambda *inputs: change(forward(*inputs))


def _previous(model: nn.Module, forward: Forward) -> Forward:
    """The result of the call before; of the first call its own."""
    kept: list[torch.Tensor] = []

    def changed(*inputs: torch.Tensor) -> torch.Tensor:
        kept.append(forward(*inputs))
        return kept.pop(0) if len(kept) > 1 else kept[0].clone()

    return changed


def _ignoring(name: str, neutral: float) -> Callable[[nn.Module, Forward], Forward]:
    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> torch.Tensor:
            parameter = dict(model.named_parameters())[name]
            kept = parameter.data
            parameter.data = torch.full_like(kept, neutral)
            try:
                return forward(*inputs)
            finally:
                parameter.data = kept

        return changed

    return make


def _ignored_parameters(model: nn.Module) -> Iterator[Flaw]:
    """For each vector of parameters and each bias, a model that leaves it out."""
    norms = {name for name, module in model.named_modules() if isinstance(module, NORMS)}
    for name, parameter in model.named_parameters():
        owner, _, kind = name.rpartition(".")
        bias = kind.endswith("bias")
        if not bias and parameter.dim() != 1 and owner not in norms:
            continue
        yield Flaw(f"missing {name}", _ignoring(name, 0.0 if bias else 1.0))


def flaws(model: nn.Module, batch: int | None) -> list[Flaw]:
    """The wrong models of a reference whose result has its batch in dimension `batch`."""

    def first_sample(y: torch.Tensor) -> torch.Tensor:
        return y if batch is None else y.narrow(batch, 0, 1).expand_as(y).clone()

    def rolled(y: torch.Tensor) -> torch.Tensor:
        return y if batch is None else y.roll(1, batch)

    return [
        Flaw("zeros", _result(torch.zeros_like)),
        Flaw("a constant", _result(lambda y: torch.full_like(y, y.mean().item()))),
        Flaw("sample 0 for all", _result(first_sample)),
        Flaw("rolled batch", _result(rolled)),
        Flaw("previous result", _previous),
        Flaw("TF32 operands", _product(_tf32_product), rounding=True),
        Flaw("bf16", _product(_bf16_product)),
        Flaw("one-pass variance", _norm(_one_pass), rounding=True),
        Flaw("no eps", _norm(_with_eps(lambda eps: 0.0))),
        Flaw("wrong eps", _norm(_with_eps(lambda eps: eps / 10))),
        Flaw("unbiased variance", _norm(_unbiased)),
        Flaw("dropped column", _norm(_dropped_column)),
        Flaw("stale statistics", _norm(_stale)),
        Flaw("shifted mean", _norm(_shifted)),
        Flaw("statistics of the batch", _norm(_whole_batch)),
        Flaw("statistics of the first group", _norm(_first_group)),
        Flaw("no activation", _under("activation", lambda: Calls(_ACTIVATIONS, _no_activation))),
        Flaw("short reduction", _under("reduction", lambda: Calls(_REDUCTIONS, _short_reduction))),
        *_ignored_parameters(model),
    ]


def _in_float64(model: nn.Module, forward: Forward) -> Forward:
    def changed(*inputs: torch.Tensor) -> torch.Tensor:
        state = {name: value.double() for name, value in model.state_dict().items()}
        y: torch.Tensor = functional_call(_plain(model), state, tuple(x.double() for x in inputs))
        return y.to(inputs[0].dtype)

    return changed


def _channels_last_product(func: Any, args: Any, kwargs: Any) -> Any:
    """A product of operands in another layout, its result in the usual one.

    The layout goes no further: PyTorch's own GroupNorm of channels-last tensors is one-pass on a CPU.
    """

    def turned(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dim() < 2:
            return x
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
        return x.t().contiguous().t() if layout is None else x.contiguous(memory_format=layout)

    with tf32_flags(False, False):  # cuDNN may take TF32 for one layout and not for another
        return func(*[turned(x) for x in args], **kwargs).contiguous()


def _sample_by_sample(batch: int) -> Callable[[nn.Module, Forward], Forward]:
    def make(model: nn.Module, forward: Forward) -> Forward:
        def changed(*inputs: torch.Tensor) -> torch.Tensor:
            with tf32_flags(False, False):  # as above, for one batch size and not for another
                return torch.cat([forward(*[x[i : i + 1] for x in inputs]) for i in range(inputs[0].shape[0])], batch)

        return changed

    return make


def honest(batch: int | None) -> list[Flaw]:
    """Ways to be right that round differently from the reference."""
    found = [
        Flaw("the reference", lambda model, forward: lambda *inputs: forward(*inputs)),
        Flaw("float64", _in_float64),
        Flaw("another layout", _product(_channels_last_product)),
        Flaw("merged statistics", _norm(_merged)),
    ]
    return found if batch is None else [*found, Flaw("sample by sample", _sample_by_sample(batch))]


def _plain(model: nn.Module) -> nn.Module:
    """The reference that a changed model was made from, on the same parameters."""
    return getattr(model, "_tuner_reference", model)


def changed(reference: nn.Module, flaw: Flaw) -> nn.Module:
    """A model with the reference's own parameters and another forward."""
    model = copy.copy(reference)
    model.__dict__["_tuner_reference"] = reference
    forward = flaw.make(reference, reference.forward)
    model.__dict__["forward"] = forward
    return model


# ---- the check -------------------------------------------------------------------------------------


def self_check(
    problem: problems.Problem,
    workload: Workload,
    device: str,
    seed: int,
    error_budget: float = 8.0,
    on_model: Callable[[str], None] = lambda name: None,
    with_honest: bool = True,
) -> SelfCheck:
    """Send every wrong (and every honest) model through the cases A to I of a light workload."""
    if workload.inputs[0].shape[0] > BATCH:
        workload = workload.with_batch(BATCH)
    suite, items = _all_cases(problem, workload, device, seed, error_budget)
    batch = batch_dim(problem, workload)
    found = SelfCheck()
    for flaw in flaws(suite.reference, batch):
        on_model(flaw.name)
        try:
            verdict = _first_failure(flaw, items)
        except Inapplicable as reason:
            found.left_out[flaw.name] = str(reason)
            continue
        if verdict is not None:
            found.caught[flaw.name] = verdict
            continue
        reason_none = _no_flaw(flaw, suite, items)
        if reason_none is None:
            found.missed.append(flaw.name)
        else:
            found.left_out[flaw.name] = reason_none
    for flaw in honest(batch) if with_honest else []:
        on_model(flaw.name)
        try:
            verdict = _first_failure(flaw, items)
        except Inapplicable:
            continue
        if verdict is None:
            found.passed.append(flaw.name)
        else:
            found.refused[flaw.name] = verdict
    if found.missed and not _runs_in_fp32(suite):
        _leave_to_tf32(found, problem, workload, device, seed, error_budget)
    return found


def _all_cases(
    problem: problems.Problem, workload: Workload, device: str, seed: int, error_budget: float
) -> tuple[Suite, list[Item]]:
    suite = Suite(problem, workload, device, seed, error_budget)
    items = [Item(case.name, suite, case) for case in suite.cases]
    return suite, items + [item for item in Thorough(suite).items() if item.case is not None]


def _leave_to_tf32(
    found: SelfCheck, problem: problems.Problem, workload: Workload, device: str, seed: int, error_budget: float
) -> None:
    """Leave out the missed models that the same cases catch once the reference runs in fp32.

    Where the reference rounds its operands to TF32, that error is what a candidate may make:
    a flaw smaller than it (an unbiased variance of 600,000 values) is none in this class.
    """
    exact = workload.with_precision("ieee")
    with tf32_flags(False, False):
        suite, items = _all_cases(problem, exact, device, seed, error_budget)
        for flaw in flaws(suite.reference, batch_dim(problem, workload)):
            if flaw.name in found.missed:
                verdict = _first_failure(flaw, items)
                if verdict is not None:
                    found.missed.remove(flaw.name)
                    found.left_out[flaw.name] = f"smaller than TF32's own error; in fp32 caught by {verdict}"


def _first_failure(flaw: Flaw, items: list[Item]) -> str | None:
    """The first case that a changed model fails, with what was said; None when it passes all."""
    model: nn.Module | None = None
    suite: Suite | None = None
    for item in items:
        if suite is not item.suite or model is None:
            suite = item.suite
            model = changed(suite.reference, flaw)
        verdict = judge(model, item)
        if not verdict.ok:
            return f"{item.name}: {verdict.detail}"
    return None


def _no_flaw(flaw: Flaw, suite: Suite, items: list[Item]) -> str | None:
    """Why a changed model that passes is not wrong here, or None when it is."""
    if flaw.name == "TF32 operands":
        return None if _runs_in_fp32(suite) else "the reference runs in TF32 itself"
    if flaw.rounding:
        return None
    model = changed(suite.double, flaw)
    for item in (i for i in items if i.suite is suite):
        assert item.case is not None
        load_state(suite.double, item.case.state)
        with torch.no_grad():
            y = model(*[x.double() for x in item.case.inputs])
        finite = item.case.oracle[item.case.oracle.isfinite()]
        scale = finite.abs().max().item() if finite.numel() else 0.0
        if not error_of(y, item.case.oracle) <= EQUAL * scale:
            return None
    return "it makes no difference to the result"


def _runs_in_fp32(suite: Suite) -> bool:
    """Whether the reference, as the suite's precision class takes it, rounds no operand to TF32."""
    if suite.workload.precision != "match":
        return suite.workload.precision == "ieee"
    case = suite.cases[0]
    load_state(suite.reference, case.state)
    inputs: Tensors = case.inputs
    with torch.no_grad():
        default = suite.reference(*inputs)
        with tf32_flags(False, False):
            return same_bits(suite.reference(*inputs), default)
