"""The launcher of one functor: a C function, and what the host passes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.drafting.axes import Axis
from tuner.drafting.graph import Ref
from tuner.drafting.naming import Names
from tuner.drafting.region import Kernel
from tuner.drafting.scope import Scope
from tuner.drafting.text import WIDTH, listed

# What counts rows and their elements: what a Divider divides, at half of whose range it ends.
COUNTED = {
    "map": ("rows", "length"),
    "rows": ("rows", "segments * length"),
    "columns": ("outer * inner", "length"),
    "scan": ("outer * inner", "length"),
    "turned": ("samples * channels", "positions"),
    "windows": ("rows", "depth * height * width"),
}


@dataclass(frozen=True)
class Argument:
    """An argument of a launcher: `kind` says what the host passes.

    tensor, result    the tensor of `ref`
    size              the number of elements along `axes`
    plane             the sizes that a plane has along its pooled dimensions: `dimension`, of the `side` in or out
    workspace         memory for partial results, or nothing
    weight            a convolution's weight, of the sizes that it was drafted with
    packed            memory for a convolution's packed weights; packed_bytes: how much
    """

    kind: str
    name: str
    declared: str
    ref: Ref | None = None
    axes: tuple[Axis, ...] = ()
    dimension: int = 0
    side: str = ""


def word_of(ref: Ref) -> str:
    return f"{ref.node}_{ref.field}" if ref.field else ref.node


def arguments(scope: Scope, total: str) -> list[Argument]:
    """What the launcher takes ahead of the stream; `total` is the type of the kernel's totals."""
    kernel = scope.kernel
    names = Names(set(scope.operands.values()) | set(scope.sizes.values()))
    made = [Argument("tensor", names.free(word_of(ref)), "const Element*", ref) for ref in scope.inputs]
    made += tensors(scope, names, total)
    made += _family_sizes(kernel)
    made += _plane_sizes() if kernel.pooled else []
    made += more_sizes(scope, names, made)
    if kernel.family in ("rows", "columns"):
        made.append(Argument("workspace", "workspace", "void*"))
    return made


def tensors(scope: Scope, names: Names, total: str) -> list[Argument]:
    """The functor's operands, then its results."""
    made = [Argument("tensor", name, f"const {scope.types[ref]}*", ref) for ref, name in scope.operands.items()]
    for result in scope.kernel.results:
        declared = f"{total if result.is_total else 'Element'}*"
        made.append(Argument("result", names.free(f"{word_of(result.ref)}_out"), declared, result.ref))
    return made


def more_sizes(scope: Scope, names: Names, made: Sequence[Argument]) -> list[Argument]:
    """The sizes that the functor needs beside those of `made`."""
    more: list[Argument] = []
    for axes in {**scope.sizes, **scope.dividers}:
        every = [*made, *more]
        if not any(argument.axes == axes and argument.kind == "size" for argument in every):
            name = scope.sizes.get(axes) or names.free(scope.dividers[axes].removeprefix("by_"))
            if name in {argument.name for argument in every}:  # a family's own size of other axes
                name = names.free(name)
            more.append(Argument("size", name, "long long", axes=axes))
    return more


def _family_sizes(kernel: Kernel) -> list[Argument]:

    def size(name: str, axes: tuple[Axis, ...]) -> Argument:
        return Argument("size", name, "long long", axes=axes)

    match kernel.family:
        case "turned":
            channels = kernel.rows[kernel.outer :]
            outer = kernel.rows[: kernel.outer]
            return [size("samples", outer), size("channels", channels), size("positions", kernel.elements)]
        case "map":
            return [size("rows", kernel.rows), size("length", kernel.elements)]
        case "rows":
            parts = kernel.elements[: kernel.segments], kernel.elements[kernel.segments :]
            return [size("segments", parts[0]), size("rows", kernel.rows), size("length", parts[1])]
        case "windows":
            return [size("rows", kernel.rows), *_plane_sizes()]
    outer, inner = kernel.rows[: kernel.outer], kernel.rows[kernel.outer :]
    return [size("outer", outer), size("length", kernel.elements), size("inner", inner)]


def _plane_sizes() -> list[Argument]:
    return [
        Argument("plane", f"{prefix}{word}", "long long", dimension=k, side=side)
        for side, prefix in (("in", ""), ("out", "out_"))
        for k, word in enumerate(("depth", "height", "width"))
    ]


def launcher(scope: Scope, struct: str, schedule: str, symbol: str, arguments: list[Argument]) -> str:
    """The C function that fills the functor `struct` and launches it."""
    kernel = scope.kernel
    declared = [f"{argument.declared} {argument.name}" for argument in arguments]
    lines = listed(f'extern "C" int {symbol}(', [*declared, "void* stream"], ") {")
    if scope.dividers:
        tests = " || ".join(f"{count} > INT_MAX" for count in COUNTED[kernel.family])
        lines.append(f"  if ({tests}) return 1;  // beyond what a Divider takes")
    lines += filled(scope, struct, arguments)
    if scope.counts:
        count = "segments * length" if kernel.family == "rows" else "length"
        lines.append(f"  f.count = static_cast<double>({count});")
    geometry = f", {struct}Windows" if kernel.family == "windows" else ""
    passed = [argument.name for argument in _family_sizes(kernel)]
    passed += ["workspace"] if kernel.family in ("rows", "columns") else []
    call = f"return launch_{kernel.family}<{schedule}{geometry}>("
    lines += [f"  {line}" for line in listed(call, ["f", *passed, "stream"], ");", WIDTH - 2)]
    return "\n".join([*lines, "}"])


def filled(scope: Scope, struct: str, arguments: Sequence[Argument]) -> list[str]:
    """The statements that make a functor `f` of the arguments."""
    results = [result for result in scope.kernel.results if not result.is_total]
    totals = [result for result in scope.kernel.results if result.is_total]
    lines = [f"  {struct} f{{}};"]
    by_ref = {argument.ref: argument.name for argument in arguments if argument.kind == "tensor"}
    outs = {argument.ref: argument.name for argument in arguments if argument.kind == "result"}
    lines += [f"  f.input[{k}] = {by_ref[ref]};" for k, ref in enumerate(scope.inputs) if ref in by_ref]
    lines += [f"  f.{name} = {by_ref[ref]};" for ref, name in scope.operands.items()]
    lines += [f"  f.result[{k}] = {outs[one.ref]};" for k, one in enumerate(results)]
    lines += [f"  f.total[{k}] = {outs[one.ref]};" for k, one in enumerate(totals)]
    by_axes = {argument.axes: argument.name for argument in reversed(arguments) if argument.kind == "size"}
    lines += [f"  f.{name} = static_cast<Index>({by_axes[axes]});" for axes, name in scope.sizes.items()]
    for axes, name in scope.dividers.items():
        lines.append(f"  f.{name} = Divider(static_cast<Index>({by_axes[axes]}));")
    if scope.kernel.pooled:
        lines.append(f"  f.plane = WindowPlane({', '.join(one.name for one in _plane_sizes())});")
    return lines
