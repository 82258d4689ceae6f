"""The plan with convolutions of our own, and the launchers of these with their ends."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tuner.drafting.axes import Axis
from tuner.drafting.graph import Graph, Product, Ref
from tuner.drafting.launcher import Argument, filled, more_sizes, tensors, word_of
from tuner.drafting.naming import Names
from tuner.drafting.owned import MOST_COLUMNS, Owned, can_own
from tuner.drafting.plan import Plan, plan
from tuner.drafting.region import Kernel
from tuner.drafting.scope import Scope
from tuner.drafting.text import WIDTH, listed

WORDS = ("depth", "height", "width")


def own_plan(graph: Graph) -> Plan | None:
    """The plan with every convolution ours that can be; None without one."""
    made = plan(graph)
    owned = {Ref(node.name): _owned(made, node) for node in made.products if can_own(graph, node)}
    return replace(made, owned=owned) if owned else None


def _owned(made: Plan, node: Product) -> Owned:
    graph, ref = made.graph, Ref(node.name)
    weight = graph[node.weight].shape
    readers = [kernel for kernel in made.kernels if any(term.ref == ref for term in kernel.reads())]
    called = any(ref in call.node.refs for call in made.calls)
    bare = Owned(node, weight[2:], (graph[node.x].shape[1], node.shape[1]), None, True)
    end = readers[0] if readers else None
    if end is None or not _is_end(made, bare, end):
        return bare
    return replace(bare, end=end, kept=len(readers) > 1 or called or ref in made.outside)


def _is_end(made: Plan, owned: Owned, kernel: Kernel) -> bool:
    """Whether a kernel may compute from the accumulators; its rows become those that implicit_sinks.cuh has."""
    dims = made.layouts.of(owned.ref)
    whole = tuple(axis for axes in dims for axis in axes)
    if kernel.space != whole or kernel.window is not None or kernel.scan is not None:
        return False
    if {term.order for term in kernel.reads() if term.ref == owned.ref} != {whole}:
        return False
    if kernel.family == "map":
        rows = (*dims[0], *dims[1])
        if len(kernel.rows) > len(rows):
            return False
        kernel.rows, kernel.elements = rows, whole[len(rows) :]
        return True
    if kernel.family == "rows":
        others = [term for term in kernel.reads() if term.ref != owned.ref and term.order == whole]
        totals = all(result.is_total for result in kernel.results)
        samples = len(dims[0])
        return (
            totals and not others and kernel.segments == 0 and len(kernel.rounds()) == 1
            and whole == (*kernel.rows, *kernel.elements) and samples <= len(kernel.rows) <= samples + len(dims[1])
        )  # fmt: skip
    positions = tuple(axis for axes in dims[2:] for axis in axes)
    return (
        kernel.family == "columns"
        and kernel.elements == dims[1]
        and kernel.rows == (*dims[0], *positions)
        and owned.channels[1] * owned.phases <= MOST_COLUMNS
    )


# ---- launchers ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launcher:
    """The C function that launches a convolution of ours, and what it takes ahead of the stream."""

    symbol: str
    text: str
    arguments: list[Argument]


def bare_launcher(made: Plan, owned: Owned) -> Launcher:
    """Of a convolution without an end."""
    names = Names({"packed", "packed_bytes", "call"})
    given, sizes = _tensors(made, owned, names), _sizes(made, owned, names, {})
    every = [*given, *sizes, *_memory()]
    symbol = f"implicit_{owned.node.name.lower()}"
    lines = [
        *_head(symbol, every),
        *_call(given, sizes),
        f"  return launch_implicit_store<{owned.geometry}, {owned.schedule}>(call, stream);",
    ]
    return Launcher(symbol, "\n".join([*lines, "}"]), every)


def end_launcher(made: Plan, owned: Owned, scope: Scope, struct: str, symbol: str, total: str) -> Launcher:
    """Of a convolution whose end is the functor `struct`; `total` is the type of its totals."""
    kernel = scope.kernel
    names = Names(set(scope.operands.values()) | set(scope.sizes.values()) | {"packed", "packed_bytes", "call"})
    given = _tensors(made, owned, names)
    others = [ref for ref in scope.inputs if ref != owned.ref]
    more = [Argument("tensor", names.free(word_of(ref)), "const Element*", ref) for ref in others]
    more += tensors(scope, names, total)
    sizes = _sizes(made, owned, names, scope.sizes)
    every = [*given, *more, *sizes]
    every += [*more_sizes(scope, names, every), *_memory()]
    lines = _head(symbol, every)
    if scope.dividers:
        samples, *positions = (sizes[k].name for k in (0, 4, 5, 6))
        counts = [f"{samples} * {owned.channels[1]}"] if kernel.family != "columns" else []
        counts += [" * ".join([samples, *positions])] if kernel.family == "columns" else []
        counts += [f"{owned.channels[1]} * {' * '.join(positions)}"] if kernel.family == "rows" else []
        tests = " || ".join(f"{count} > INT_MAX" for count in counts)
        lines.append(f"  if ({tests}) return 1;  // beyond what a Divider takes")
    lines += filled(scope, struct, every)
    together = owned.together(len(made.layouts.of(owned.ref)[0]))
    if scope.counts:
        every_position = " * ".join(one.name for one in sizes[4:])
        count = f"{together} * {every_position}" if kernel.family == "rows" else f"{owned.channels[1]}"
        lines.append(f"  f.count = static_cast<double>({count});")
    lines += _call(given, sizes)
    parameters = [owned.geometry, owned.schedule, str(owned.kept).lower()]
    passed = ["f", "call", "stream"]
    if kernel.family == "rows":
        passed.insert(2, str(together))
    else:
        parameters.insert(2, str(scope.inputs.index(owned.ref)))
    lines.append(f"  return launch_implicit_{kernel.family}<{', '.join(parameters)}>({', '.join(passed)});")
    return Launcher(symbol, "\n".join([*lines, "}"]), every)


def _tensors(made: Plan, owned: Owned, names: Names) -> list[Argument]:
    node = owned.node
    given = [
        Argument("tensor", names.free(word_of(node.x)), "const float*", node.x),
        Argument("weight", names.free(made.graph[node.weight].name), "const float*", node.weight),
    ]
    if owned.kept:
        given.append(Argument("result", names.free(f"{node.name}_out"), "float*", owned.ref))
    return given


def _sizes(made: Plan, owned: Owned, names: Names, known: dict[tuple[Axis, ...], str]) -> list[Argument]:
    """Samples, the input's sizes and the output's; the functor knows some by names of its own."""
    node, none = owned.node, [()] * (3 - len(owned.node.stride))
    into, out = made.layouts.of(node.x), made.layouts.of(owned.ref)
    sizes: list[tuple[str, tuple[Axis, ...]]] = [("samples", into[0])]
    sizes += [(f"{node.x.node}_{word}", axes) for word, axes in zip(WORDS, [*none, *into[2:]], strict=True)]
    sizes += [(f"{node.name}_{word}", axes) for word, axes in zip(WORDS, [*none, *out[2:]], strict=True)]
    made_: list[Argument] = []
    for word, axes in sizes:
        name = known.get(axes, "")
        taken = {one.name for one in made_}
        made_.append(Argument("size", name if name and name not in taken else names.free(word), "long long", axes=axes))
    return made_


def _memory() -> list[Argument]:
    return [Argument("packed", "packed", "void*"), Argument("packed_bytes", "packed_bytes", "long long")]


def _head(symbol: str, arguments: list[Argument]) -> list[str]:
    declared = [f"{argument.declared} {argument.name}" for argument in arguments]
    return listed(f'extern "C" int {symbol}(', [*declared, "void* stream"], ") {")


def _call(given: list[Argument], sizes: list[Argument]) -> list[str]:
    """The statement that makes an ImplicitCall."""
    kept = next((one.name for one in given if one.kind == "result"), "nullptr")
    words = [one.name for one in sizes]
    parts = [given[0].name, given[1].name, kept, words[0]]
    parts += [f"{{{', '.join(words[1:4])}}}", f"{{{', '.join(words[4:])}}}", "packed", "packed_bytes"]
    return [f"  {line}" for line in listed("const ImplicitCall call{", parts, "};", WIDTH - 2)]
