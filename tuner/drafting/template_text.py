"""The Python of a draft's template: template.py, and the skeleton of its model."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuner.drafting.facts import axes_function
from tuner.drafting.graph import Product
from tuner.drafting.plan import Plan
from tuner.drafting.region import Kernel
from tuner.drafting.spaces import Space
from tuner.records import Workload
from tuner.space import Knob
from tuner.template.model_new import derived


@dataclass(frozen=True)
class Variant:
    """What one variant of the template is made of. `few_rows`: with a product of its own, for one architecture
    (as are plans with convolutions of ours)."""

    name: str
    device: str
    source: str
    doc: str
    few_rows: bool
    plan: Plan
    found: list[tuple[Kernel | Product, Space]]
    knobs: dict[Space, tuple[Knob, ...]]


def template_text(name: str, variants: Sequence[Variant], dtype: str, leaves: Sequence[str]) -> str:
    """template.py: facts, and the variants with their knobs and constraints."""
    modules = sorted({space.module for variant in variants for _, space in variant.found})
    imports = "".join(f"import {module}\n" for module in modules)
    facts = axes_function([(one.plan, step, space) for one in variants for step, space in one.found], dtype)
    texts = "".join(_variant_text(variant, dtype, leaves) for variant in variants)
    head = f'"""{name}: knobs, constraints and variants."""\n\n{imports}\nfrom tuner.template import Variant\n'
    return f"{head}\n\n{facts}\n\nVARIANTS = (\n{texts})\n"


def _variant_text(variant: Variant, dtype: str, leaves: Sequence[str]) -> str:
    lines = [f'name="{variant.name}"', f'device="{variant.device}"', f'source="{variant.source}"']
    if variant.device == "cuda":
        lines += ["minimum=(9, 0)", "exact=True"] if variant.few_rows or variant.plan.owned else ["minimum=(8, 0)"]
    lines.append(f'doc="{variant.doc}"')
    if leaves:
        short = f"leaves={_tuple(leaves)}"
        lines.append(short if len(short) <= 111 else _listed("leaves", [f'"{leaf}"' for leaf in leaves]))
    if dtype != "float32":
        lines.append(f"dtypes={_tuple([dtype])}")
    lines.append(_listed("knobs", [space.text(space.knobs) for _, space in variant.found]))
    lines.append(_listed("constraints", [space.text(space.constraints, True) for _, space in variant.found]))
    return "    Variant(\n" + "".join(f"        {line},\n" for line in lines) + "    ),\n"


def _listed(key: str, parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return f"{key}=({''.join(f'{part},' for part in parts)})"
    return f"{key}=(\n{''.join(f'            {part},{chr(10)}' for part in parts)}        )"


def _tuple(words: Iterable[str]) -> str:
    texts = [f'"{word}"' for word in words]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


_HEAD = '''"""The reference's constructor; forward runs the kernels."""

import torch
import torch.nn as nn


'''
_TUPLES = '''def as_tuples(value):
    """Lists as tuples, at every depth."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


'''

_NUMBERS = '''def tensor_of(number, x):
    """A number as a tensor where `x` is."""
    if isinstance(number, torch.Tensor):
        return number
    return torch.full((), number, dtype=x.dtype if isinstance(number, float) else None, device=x.device)


'''


def model_new_text(problem: str, workload: Workload) -> str:
    """model_new.py: the reference's constructor, which refuses other arguments than the workload's.

    Their values stand in the sources. `problem` is the text of problem.py; numbers among the inputs become tensors.
    Raises NotDerived as `derived` does.
    """
    text = derived(problem, len(workload.inputs))
    model = _model(text)
    methods = {n.name: n for n in model.body if isinstance(n, ast.FunctionDef)}
    lines, helpers = text.splitlines(), ""
    numbers = [not spec.shape for spec in workload.inputs]
    if any(numbers) and not all(numbers):
        names = [argument.arg for argument in methods["forward"].args.args[1:]]
        like = names[numbers.index(False)]
        given = [f"tensor_of({n}, {like})" if is_number else n for n, is_number in zip(names, numbers, strict=True)]
        lines[methods["forward"].body[0].lineno - 1] = f"        return run(self, {', '.join(given)})"
        helpers += _NUMBERS
    start = methods.get("__init__")
    if start is not None and workload.init:
        lines, helpers = _checking(lines, start, workload.init), helpers + _TUPLES
    at = model.lineno - 1
    return _HEAD + "\n".join([*lines[:at], *helpers.splitlines(), *lines[at:]]) + "\n"


def _model(text: str) -> ast.ClassDef:
    return next(n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "ModelNew")


def _checking(lines: list[str], start: ast.FunctionDef, init: Sequence[object]) -> list[str]:
    """The lines with a check of the constructor's arguments at its beginning."""
    given = [argument.arg for argument in [*start.args.posonlyargs, *start.args.args][1:]][: len(init)]
    if start.args.vararg is not None and len(given) < len(init):
        given.append(f"*{start.args.vararg.arg}")
    first = next(n for n in start.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)))
    indent, at = " " * first.col_offset, first.lineno - 1
    check = [
        f"{indent}if as_tuples(({', '.join(given)},)) != {_as_tuples(init)!r}:",
        f'{indent}    raise RuntimeError("these kernels are drafted for other arguments: draft them anew")',
    ]
    return [*lines[:at], *check, *lines[at:]]


def _as_tuples(value: object) -> object:
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value
