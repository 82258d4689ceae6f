"""Rendering: template + configuration -> the text of one standalone Python file.

Pure text: nothing is compiled or imported here, and equal arguments give equal
bytes. What is measured is this text, and this text is what ships.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TemplateError
from tuner.records import Environment, Workload, names_of
from tuner.space import Choice, Knob, Point
from tuner.template import Template, Variant
from tuner.template.hosts import body, host_files, returns_several
from tuner.template.model_new import model_new, without_given
from tuner.template.shared import inline_includes, read
from tuner.template.signatures import signatures

_RUNTIME = [Path(__file__).with_name(f"candidate_{part}.py") for part in ("runtime", "operator")]
_EACH_DTYPE, _SEVERAL, _BACKWARD = (
    Path(__file__).with_name(f"candidate_{part}.py") for part in ("each_dtype", "several", "backward")
)


@dataclass(frozen=True)
class Candidate:
    """The bytes of a candidate and their hash."""

    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Tuned:
    """One kernel of a candidate file: a point and what it was tuned for.

    `dtype` is that of parameters and of floating inputs; `dtypes` are those of all inputs, () where all are of `dtype`.
    """

    point: Point
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    tuned_on: str
    precision: str
    dtypes: tuple[str, ...] = ()

    @property
    def input_dtypes(self) -> tuple[str, ...]:
        """The dtype of each input."""
        return self.dtypes or (self.dtype,) * len(self.shapes)


def tuned_for(point: Point, workload: Workload, environment: Environment) -> Tuned:
    """The kernel of one point, for one workload on one device."""
    place = environment.device_name
    return Tuned(point, workload.shapes, workload.dtype, place, workload.precision, workload.each_dtype)


def candidate(template: Template, tuned: Sequence[Tuned], note: str = "", reference: Path | None = None) -> Candidate:
    """The standalone file that defines ModelNew with these kernels, in this order.

    With several kernels the file dispatches on the inputs' shapes, and on their
    dtypes where these differ. `note` is added to the file's docstring. With `reference`,
    a problem file, its Model computes the gradients; without, ModelNew has none.
    """
    variants = {t.point.variant: template.variant(t.point.variant) for t in tuned}
    of_each = len({dtype for t in tuned for dtype in (t.dtype, *t.input_dtypes)}) > 1
    several = not of_each and any(returns_several(template.folder, variant.host) for variant in variants.values())
    runtime = [*_RUNTIME, *[_EACH_DTYPE] * of_each, *[_SEVERAL] * several, *[_BACKWARD] * (reference is not None)]
    parts = [_docstring(template, tuned, note), _IMPORTS, *(path.read_text() for path in runtime)]
    hosts = dict.fromkeys(variant.host for variant in variants.values())  # each once
    parts += [body(file, template.folder) for file in host_files(template.folder, hosts)]
    kernels = "".join(_kernel(template, variants[t.point.variant], t, of_each) for t in tuned)
    skeleton = without_given(model_new(template.folder))
    if reference is not None:
        parts.append(f"REFERENCE = {_literal(read(reference))}")
    parts += [f"KERNELS = (\n{kernels})\n", skeleton, _REGISTERED]
    return Candidate("\n\n".join(part.strip("\n") for part in parts) + "\n")


def for_point(template: Template, point: Point, workload: Workload, environment: Environment) -> Candidate:
    """The file of one point, for one workload on one device."""
    return candidate(template, [tuned_for(point, workload, environment)])


_IMPORTS = """\
import copy
import ctypes
import functools
import hashlib
import inspect
import math
import os
import tempfile
import weakref

import torch
import torch.nn as nn
"""
_C_TYPES = {
    "float32": "float",
    "float16": "half",
    "bfloat16": "bfloat16",
    "float64": "double",
}  # what TUNER_DTYPE may be
_REGISTERED = "ModelNew = registered(ModelNew)\n"


def _docstring(template: Template, tuned: Sequence[Tuned], note: str) -> str:
    lines = [f'"""{template.name}: ModelNew with kernels tuned by tuner.', ""]
    for t in tuned:
        shapes = ", ".join("x".join(map(str, shape)) for shape in t.shapes)
        lines.append(f"Tuned for {shapes} {names_of(t.input_dtypes)} on {t.tuned_on}, precision class {t.precision}:")
        lines.append(f"    {t.point}")
    if note:
        lines += ["", *note.splitlines()]
    return "\n".join([*lines, '"""'])


def _literal(text: str) -> str:
    """A Python literal of a text, to be read where that is possible."""
    return repr(text) if "'''" in text or text.endswith("\\") or "\r" in text else f"r'''{text}'''"


def _kernel(template: Template, variant: Variant, tuned: Tuned, of_each: bool) -> str:
    source = kernel_source(template, variant, tuned.point, tuned.dtype)
    if "'''" in source or source.endswith("\\"):
        raise TemplateError(f"{template.folder / variant.source}: a source may not hold three single quotes")
    arguments = [
        f'name="{template.name}_{variant.name}"',
        f"host={variant.host}",
        f'device="{variant.device}"',
        f"tuned_on={tuned.tuned_on!r}",
        f"shapes={tuned.shapes!r}",
        f"dtype=torch.{tuned.dtype}",
        f"knobs={tuned.point.knobs!r}",
    ]
    if of_each:
        dtypes = "".join(f"torch.{dtype}, " for dtype in tuned.input_dtypes)
        arguments.append(f"dtypes=({dtypes.strip()})")
    if variant.minimum != (0, 0):
        arguments.append(f"minimum={variant.minimum!r}")
    if variant.exact:
        arguments.append("exact=True")
    launchers = {name: str(each) for name, each in signatures(source).items() if name != "tuner_error"}
    if launchers:
        lines = "".join(f"            {name!r}: {text!r},\n" for name, text in launchers.items())
        arguments.append(f"signatures={{\n{lines}        }}")
    body = "".join(f"        {argument},\n" for argument in arguments)
    return f"    {'KernelOfEach' if of_each else 'Kernel'}(\n{body}        source=r'''\n{source}''',\n    ),\n"


def kernel_source(template: Template, variant: Variant, point: Point, dtype: str = "float32") -> str:
    """The variant's source with its knobs and its dtype as `#define` lines ahead and its includes inlined.

    Only knobs that the source mentions become a define, so that two points that
    differ in a host-side knob share one binary; so does the dtype, by which
    numerics/element.hpp chooses the type of tensors' elements.
    """
    text = inline_includes(template.folder / variant.source)
    element = ""
    if re.search(r"\bTUNER_DTYPE\b", text):
        if dtype not in _C_TYPES:
            raise TemplateError(f"{template.folder / variant.source}: TUNER_DTYPE is one of {', '.join(_C_TYPES)}")
        element = f"#define TUNER_DTYPE {_C_TYPES[dtype]}\n"
    return element + defines(variant, point.knobs, text) + text


def defines(variant: Variant, knobs: dict[str, Choice], text: str) -> str:
    """`#define` lines for the knobs that `text` mentions.

    `block_size=256` gives `#define BLOCK_SIZE 256`; a boolean gives 0 or 1; a
    string knob `reduction="shuffle"` gives the enumerators `REDUCTION_SHUFFLE 0`,
    `REDUCTION_SHARED 1` and `#define REDUCTION REDUCTION_SHUFFLE`.
    """
    lines = []
    for knob in variant.knobs:
        macro, value = knob.name.upper(), knobs[knob.name]
        if not _mentions(text, knob):
            continue
        if isinstance(value, str):
            # Enumerators count over the template's own choices, narrowed or not.
            lines += [f"#define {macro}_{choice.upper()} {i}" for i, choice in enumerate(map(str, knob.choices))]
            lines.append(f"#define {macro} {macro}_{value.upper()}")
        else:
            lines.append(f"#define {macro} {int(value)}")
    return "".join(line + "\n" for line in lines)


def host_knobs(template: Template, variant: Variant) -> tuple[Knob, ...]:
    """The knobs that the source does not mention: whatever they are, the binary is the same."""
    text = inline_includes(template.folder / variant.source)
    return tuple(knob for knob in variant.knobs if not _mentions(text, knob))


def _mentions(text: str, knob: Knob) -> bool:
    return re.search(rf"\b{knob.name.upper()}\b", text) is not None


def digest(template: Template, variant: Variant, dtypes: tuple[str, ...] = ()) -> str:
    """Hash of all that a candidate of this variant is made of, short of its own knob values, and of the problem.

    Taken over a candidate with every knob at its first choice, so that whatever
    changes the rendered text, or what it may leave to PyTorch, changes the digest too.
    `dtypes` is the workload's `each_dtype`: another one, another text.
    """
    first = Point(variant.name, tuple((knob.name, knob.choices[0]) for knob in variant.knobs))
    text = candidate(template, [Tuned(first, ((1,),), "float32", "", "match", dtypes)]).text
    leaves = "".join(f"leaves {name}\n" for name in variant.leaves)  # another declaration, another verdict
    return hashlib.sha256((text + read(template.problem) + leaves).encode()).hexdigest()
