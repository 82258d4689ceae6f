"""A draft: the files of a template for a problem, from what was traced of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuner.drafting import calls, report
from tuner.drafting.functor import Functor, functor
from tuner.drafting.graph import Input, Ref
from tuner.drafting.host import host
from tuner.drafting.plan import FLOATING, Plan, plan
from tuner.drafting.region import Kernel
from tuner.drafting.rewrite import free_biases, parted
from tuner.drafting.scope import C_TYPES
from tuner.drafting.sources import HEADER, Schedule, header, schedule_name, source
from tuner.drafting.spaces import knobs, spaces
from tuner.drafting.template_text import Variant, model_new_text, template_text
from tuner.drafting.tracer import Traced
from tuner.errors import TemplateError
from tuner.records import Workload
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
    dtype = next((d for d in workload.dtypes if d in FLOATING), None)
    if dtype is None:
        raise TemplateError(f"{name}: inputs are {workload.dtype_names}; drafts are made for {', '.join(FLOATING)}")
    graph = parted(free_biases(traced.graph))
    return _Writer(name, plan(graph), workload, dtype).draft(source)


class _Writer:
    def __init__(self, name: str, made: Plan, workload: Workload, dtype: str) -> None:
        self.name, self.plan, self.workload, self.dtype = name, made, workload, dtype
        types, kernels = _types(made), made.kernels
        self.functors: dict[str, Functor] = {
            one.name: functor(one, types, schedule_name(one, kernels), report.sentence(one)) for one in kernels
        }

    def draft(self, problem: str) -> Draft:
        leaves = sorted({name for call in self.plan.calls for name in calls.left(call.node)})
        variants = self._variants()
        files = {
            "model_new.py": model_new_text(problem, self.workload.init),
            "template.py": template_text(self.name, self.plan, variants, self.dtype, leaves),
        }
        if self.functors:
            title = [f"{self.name} computes", *(f"  {line}" for line in report.mathematics(self.plan))]
            files[HEADER] = header(title, list(self.functors.values()))
        for one in variants:
            files[one.source] = self._source(one)
            text = host(one.name, self.plan, self.functors, one.device, self._shapes(), one.few_rows)
            files[f"{one.name}.py"] = text
        lines = report.lines(self.plan, leaves)
        return Draft(files, tuple(lines), len(self.functors), tuple(leaves))

    def _shapes(self) -> str:
        inputs = ", ".join(f"{node.name} {node.shape}" for node in self.plan.graph.nodes if isinstance(node, Input))
        outputs = ", ".join(str(self.plan.graph[ref].shape) for ref in self.plan.graph.outputs)
        return f"{inputs} -> {outputs}, for example."

    def _variants(self) -> list[Variant]:
        after = "what follows them in kernels of our own"
        made = [self._variant("fused_cuda", "cuda", "fused.cu", f"products by the libraries, {after}")]
        few = any(
            calls.is_layer(node, self.plan.graph) and math.prod(node.shape[:-1]) <= FEW_ROWS
            for node in self.plan.products
        )
        if few:
            doc = f"products of few rows in a kernel of their own, too, {after}"
            made.append(self._variant("hopper_cuda", "cuda", "fused_hopper.cu", doc, few_rows=True))
        return [
            *made,
            self._variant("fused_cpu", "cpu", "fused.cpp", "products by PyTorch, what follows them in loops"),
        ]

    def _variant(self, name: str, device: str, file: str, doc: str, few_rows: bool = False) -> Variant:
        found = spaces(self.plan, device, few_rows)
        folder = shipped_folder() / "draft"  # one that finds what templates share
        return Variant(name, device, file, doc, few_rows, found, knobs(folder, [space for _, space in found]))

    def _source(self, variant: Variant) -> str:
        schedules = [
            Schedule(step, schedule_name(step, self.plan.kernels), space.prefix, variant.knobs[space])
            for step, space in variant.found
            if isinstance(step, Kernel)
        ]
        includes: list[str] = []
        if variant.device == "cuda" and any(map(calls.is_split, self.plan.products)):
            includes = ["products/finish.cuh", "products/split.cuh"]
            includes += ["products/few_rows.cuh"] if variant.few_rows else []
        where = "On a GPU" if variant.device == "cuda" else "On the CPU"
        title = f"{where}: knobs and schedules of the kernels in {HEADER}."
        return source(title, variant.device, schedules, includes)


def _types(made: Plan) -> dict[Ref, str]:
    """The C type of the elements of every tensor that a kernel reads or writes."""
    outside = {*made.graph.outputs, *(ref for _, ref in made.graph.updates)}
    outside |= {ref for call in made.calls for ref in call.node.refs}
    types: dict[Ref, str] = {}
    for kernel in made.kernels:
        is_outside = any(result.ref in outside for result in kernel.results if result.is_total)
        for result in kernel.results:
            dtype = made.graph[result.ref].dtype
            is_wider = result.is_total and not is_outside and dtype != "float32"
            is_index = result.ref.field == "index" or dtype == "int64"
            types[result.ref] = "long long" if is_index else "float" if is_wider else "Element"
    for kernel in made.kernels:
        for term in kernel.reads():
            if term.ref is not None and term.ref not in types:
                types[term.ref] = C_TYPES.get(made.graph[term.ref].dtype, "Element")
    return types
