"""A draft: the files of a template for a problem, from what was traced of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.drafting import calls, report
from tuner.drafting.channels_last import last_plan
from tuner.drafting.functor import Functor, functor
from tuner.drafting.graph import Input, Product, Ref
from tuner.drafting.host import host
from tuner.drafting.implicit import bare_launcher, own_plan
from tuner.drafting.owned import Owned
from tuner.drafting.plan import Plan, plan
from tuner.drafting.region import Kernel
from tuner.drafting.rewrite import free_biases, parted
from tuner.drafting.scope import C_TYPES, Scope
from tuner.drafting.shorten import shortened
from tuner.drafting.sources import Schedule, header, schedule_name, source
from tuner.drafting.spaces import knobs, spaces
from tuner.drafting.template_text import Variant, model_new_text, template_text
from tuner.drafting.tracer import Traced
from tuner.errors import TemplateError
from tuner.records import FLOATING, Workload
from tuner.template.shared import shipped_folder

FEW_ROWS = 1024


@dataclass(frozen=True)
class Draft:
    """`files` by name, without problem.py; `plan` in lines for the screen; the number of kernels in a forward."""

    files: dict[str, str]
    plan: tuple[str, ...]
    kernels: int
    leaves: tuple[str, ...]


def draft(name: str, traced: Traced, workload: Workload, source: str) -> Draft:
    """A template for the problem whose text is `source`, as `traced` for `workload`; `name` is the template's.

    Raises TemplateError for what cannot be drafted.
    """
    if not any(dtype in FLOATING for dtype in workload.dtypes):
        raise TemplateError(f"inputs are {workload.dtype_names}; a draft wants one of {', '.join(FLOATING)} among them")
    dtype = workload.dtype
    graph = parted(free_biases(shortened(traced.graph)))
    parts = [_Part("fused", plan(graph), dtype)]
    last = last_plan(graph) if dtype != "float64" else None
    if last is not None:
        parts.append(_Part("last", last, dtype))
    own = own_plan(graph) if dtype == "float32" else None
    if own is not None:
        parts.append(_Part("own", own, dtype))
    return _Writer(name, parts, workload, dtype, bool(traced.sized)).draft(source)


class _Part:
    """One plan and its functors, in the header `word`.hpp."""

    def __init__(self, word: str, made: Plan, dtype: str) -> None:
        self.word, self.plan, self.header, self.dtype = word, made, f"{word}.hpp", dtype
        real = "double" if dtype == "float64" else "float"
        _require_own_dtype(made, dtype)
        types, kernels = _types(made, real), made.kernels
        self.functors: dict[str, Functor] = {
            one.name: functor(one, types, schedule_name(one, kernels), report.sentence(one), real, self._end_of(one))
            for one in kernels
        }

    def _end_of(self, kernel: Kernel) -> tuple[Plan, Owned] | None:
        owned = self.plan.ends.get(kernel.name)
        return None if owned is None else (self.plan, owned)

    @property
    def has_few_rows(self) -> bool:
        """Whether a product of a layer has few rows."""
        graph = self.plan.graph
        return any(
            calls.is_layer(node, graph) and math.prod(node.shape[:-1]) <= FEW_ROWS for node in self.plan.products
        )

    def variant(self, name: str, device: str, file: str, doc: str, few_rows: bool = False) -> Variant:
        found = spaces(self.plan, device, few_rows)
        folder = shipped_folder() / "draft"  # one that finds what templates share
        own = knobs(folder, [space for _, space in found])
        return Variant(name, device, file, doc, few_rows, self.plan, found, own)

    def variants(self) -> list[Variant]:
        if self.word == "own":
            return [
                self.variant("own_cuda", "cuda", "own.cu", "convolutions of our own, what follows them as their ends")
            ]
        if self.word == "last":
            return [self.variant("last_cuda", "cuda", "last.cu", "the same from convolutions in channels-last memory")]
        on_cpu = self.variant("fused_cpu", "cpu", "fused.cpp", "products by PyTorch, what follows them in loops")
        if self.dtype == "float64":  # no family on a GPU computes in double
            return [on_cpu]
        after = "what follows them in kernels of our own"
        made = [self.variant("fused_cuda", "cuda", "fused.cu", f"products by the libraries, {after}")]
        if self.has_few_rows:
            doc = f"products of few rows in a kernel of their own, {after}"
            made.append(self.variant("hopper_cuda", "cuda", "fused_hopper.cu", doc, few_rows=True))
        return [*made, on_cpu]

    def source(self, variant: Variant) -> str:
        schedules = [
            Schedule(
                f"families/{step.family}", schedule_name(step, self.plan.kernels), space.prefix, variant.knobs[space]
            )
            for step, space in variant.found
            if isinstance(step, Kernel)
        ]
        schedules += [
            Schedule(
                "convolution/implicit_sinks",
                self.plan.owned[Ref(step.name)].schedule,
                space.prefix,
                variant.knobs[space],
            )
            for step, space in variant.found
            if isinstance(step, Product) and Ref(step.name) in self.plan.owned
        ]
        includes: list[str] = []
        if variant.device == "cuda" and any(map(calls.is_split, self.plan.products)):
            includes = ["products/finish.cuh", "products/split.cuh"]
            includes += ["products/few_rows.cuh"] if variant.few_rows else []
        others = [node for node in self.plan.products if Ref(node.name) not in self.plan.owned]
        if variant.device == "cuda" and any(node.is_convolution for node in others):
            includes.append("products/channels_last.cuh")
        where = "On a GPU" if variant.device == "cuda" else "On the CPU"
        title = f"{where}: knobs and schedules of the kernels in {self.header}."
        return source(title, variant.device, schedules, includes, self.header)


class _Writer:
    def __init__(self, name: str, parts: list[_Part], workload: Workload, dtype: str, fixed: bool) -> None:
        self.name, self.parts, self.workload, self.dtype, self.fixed = name, parts, workload, dtype, fixed

    def draft(self, problem: str) -> Draft:
        main = self.parts[0]
        leaves = sorted({name for call in main.plan.calls for name in calls.left(call.node)})
        within = sorted({name for call in main.plan.calls for name in calls.within(call.node)}.difference(leaves))
        variants = [(part, variant) for part in self.parts for variant in part.variants()]
        every = [variant for _, variant in variants]
        files = {
            "model_new.py": model_new_text(problem, self.workload),
            "template.py": template_text(self.name, every, self.dtype, [*leaves, *within]),
        }
        for part in self.parts:
            owned = part.plan.owned.values()
            if part.functors or owned:
                title = [f"{self.name} computes", *(f"  {line}" for line in report.mathematics(part.plan))]
                bare = [bare_launcher(part.plan, one).text for one in owned if one.end is None]
                functors = list(part.functors.values())
                files[part.header] = header(title, functors, [one.struct() for one in owned], bare)
        for part, one in variants:
            files[one.source] = part.source(one)
            text = host(one.name, part.plan, part.functors, one.device, self._shapes(), one.few_rows, self.fixed)
            files[f"{one.name}.py"] = text
        lines = report.lines(main.plan, leaves)
        return Draft(files, tuple(lines), len(main.functors), tuple(leaves))

    def _shapes(self) -> str:
        graph = self.parts[0].plan.graph
        inputs = ", ".join(f"{node.name} {node.shape}" for node in graph.nodes if isinstance(node, Input))
        outputs = ", ".join(str(graph[ref].shape) for ref in graph.outputs)
        return f"{inputs} -> {outputs}, for example."


def _require_own_dtype(made: Plan, dtype: str) -> None:
    """Raise TemplateError for what a kernel writes for others than kernels in another floating-point dtype."""
    written = [result.ref for kernel in made.kernels for result in kernel.results if result.ref in made.typed]
    for ref in written:
        node = made.graph[ref]
        if ref.field != "index" and node.dtype in FLOATING and node.dtype != dtype:
            raise TemplateError(
                f"{node.name} is of {node.dtype} beside inputs of {dtype}; a draft's results are as its inputs"
            )


def _types(made: Plan, real: str) -> dict[Ref, str]:
    """The C type of the elements of every tensor that a kernel reads or writes.

    A draft holds for other dtypes than it is made for: what is found of a row is kept in `real` between two kernels,
    unless one of them goes over it element by element, as families do over tensors of Element alone.
    """
    typed = made.typed
    types: dict[Ref, str] = {}
    for kernel in made.kernels:
        for result in kernel.results:
            is_index = result.ref.field == "index" or made.graph[result.ref].dtype == "int64"
            types[result.ref] = "long long" if is_index else "Element"
    for kernel in made.kernels:
        for term in kernel.reads():
            if term.ref is not None and term.ref not in types:
                types[term.ref] = C_TYPES.get(made.graph[term.ref].dtype, "Element")
    gone_over = {ref for kernel in made.kernels for ref in Scope(kernel, types).inputs}
    for kernel in made.kernels:
        totals = [result.ref for result in kernel.results if result.is_total and types[result.ref] == "Element"]
        is_narrow = any(made.graph[ref].dtype != "float32" for ref in totals)
        if not typed.intersection(totals) and (is_narrow or not gone_over.intersection(totals)):
            types.update(dict.fromkeys(totals, real))
    return types
