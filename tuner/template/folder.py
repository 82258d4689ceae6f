"""Templates: a folder with a problem, a ModelNew skeleton and one or more kernel variants.

    kernel_templates/gn_mean/
        problem.py      the reference, in the KernelBench format
        template.py     `axes(init, shapes)` and `VARIANTS`, plain Python without torch
        model_new.py    `class ModelNew`: the reference's constructor; forward returns `run(self, x)`
        HOST.py         the host functions of its variants, each `def HOST(model, kernel, x)`
        *.cu, *.cpp     the sources; each compiles alone with its default knobs

`load` reads such a folder and refuses one that contradicts itself. What several templates share lies in `include/`
beside their folders.
"""

from __future__ import annotations

import importlib.util
import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuner.errors import ConfigError, TemplateError
from tuner.space import Branch, Choice, Facts, Knob, Space
from tuner.template import checks
from tuner.template.shared import shared_modules, shipped_folder, shipped_names
from tuner.template.variant import Variant

Axes = Callable[[Sequence[Any], Sequence[tuple[int, ...]]], Mapping[str, Any]]


@dataclass(frozen=True)
class Template:
    """A template folder, read. `axes` maps constructor arguments and input shapes to named numbers."""

    name: str
    folder: Path
    variants: tuple[Variant, ...]
    axes: Axes = field(compare=False)

    @property
    def problem(self) -> Path:
        return self.folder / "problem.py"

    def variant(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        names = ", ".join(variant.name for variant in self.variants)
        raise TemplateError(f"template {self.name}: no variant {name!r}; it has {names}")

    def facts(self, init: Sequence[Any], shapes: Sequence[tuple[int, ...]], device: Mapping[str, Any]) -> Facts:
        """What constraints look at: this template's axes for one workload and the device's limits.

        Raises TemplateError when the template does not take such a workload.
        """
        try:
            return Facts(**{**device, **self.axes(init, shapes)})
        except Exception as error:  # the template's own code
            raise TemplateError(
                f"template {self.name}: does not take init {list(init)} with shapes "
                f"{[list(s) for s in shapes]}: {error}"
            ) from error

    def space(
        self,
        device: str,
        facts: Facts,
        variants: Sequence[str] | None = None,
        narrowing: Mapping[str, Sequence[Choice]] | None = None,
        dtypes: Sequence[str] = (),
    ) -> Space:
        """The search space for one workload on one kind of device.

        `variants` keeps only these; `narrowing` maps a knob to the choices to keep: each variant
        that has the knob keeps those of them that it knows, and one that knows none is left out.
        So is one that takes no inputs of `dtypes`.
        Raises ConfigError for an unknown variant, knob or choice and for a space without a point.
        """
        narrowing = narrowing or {}
        self.check_names(variants, narrowing, device=device)
        kept = [v for v in self._asked_for(variants, device) if _runs_on(v, facts.capability) and v.takes(dtypes)]
        if not kept:
            raise ConfigError(self._none_for(device))
        narrowed = [(v, [_narrow(k, narrowing.get(k.name)) for k in v.knobs]) for v in kept]
        branches = (Branch(v.name, tuple(k for k in knobs if k), v.constraints) for v, knobs in narrowed if all(knobs))
        space = Space(tuple(branches), facts)
        if not space.defaults:
            raise ConfigError(
                f"template {self.name}: no point is left once knobs are narrowed and constraints applied: "
                f"{space.emptiness()}"
            )
        return space

    def check_names(
        self,
        variants: Sequence[str] | None = None,
        narrowing: Mapping[str, Sequence[Choice]] | None = None,
        device: str = "auto",
    ) -> None:
        """Raise ConfigError for a variant, knob or choice that no variant has, and for what leaves no variant.

        A knob or choice may be of a variant that is not asked for: devices share configs.
        `device` is as in a config; "auto" may be any.
        """
        narrowing = narrowing or {}
        names = [v.name for v in self.variants]
        for name in variants or ():
            if name not in names:
                raise ConfigError(f"variants: {name!r} is not one of {', '.join(names)}")
        kept = self._asked_for(variants, device)
        if not kept:
            raise ConfigError(self._none_for(device))
        for name, wanted in narrowing.items():
            having = [k for v in self.variants for k in v.knobs if k.name == name]
            if not having:
                known = sorted({k.name for v in self.variants for k in v.knobs})
                raise ConfigError(f"knobs: {name!r} is not a knob of {self.name}; it has {', '.join(known)}")
            choices = list(dict.fromkeys(choice for knob in having for choice in knob.choices))
            if not wanted:
                raise ConfigError(f"knobs.{name}: the list is empty; choose among {choices}")
            for value in wanted:
                if not any(knob.has(value) for knob in having):
                    raise ConfigError(f"knobs.{name}: {value!r} is not one of {choices}")
        lost = {v.name: next((k for k in v.knobs if not _narrow(k, narrowing.get(k.name))), None) for v in kept}
        if all(lost.values()):
            why = "; ".join(f"{name} has {knob.name} {list(knob.choices)}" for name, knob in lost.items() if knob)
            raise ConfigError(f"knobs: no variant is left: {why}")

    def require_takes(self, dtypes: Sequence[str], variants: Sequence[str] | None, device: str) -> None:
        """Raise TemplateError when none of these variants takes inputs of these dtypes."""
        kept = self._asked_for(variants, device)
        if not any(variant.takes(dtypes) for variant in kept):
            known = "; ".join(
                f"{variant.name} takes {' or '.join(variant.dtypes)}"
                + ("" if variant.mixed else ", all floating-point inputs of one dtype")
                for variant in kept
            )
            raise TemplateError(
                f"template {self.name}: no variant takes inputs of {', '.join(dict.fromkeys(dtypes))}: {known}; "
                f"Variant(dtypes=..., mixed=...) in {self.folder / 'template.py'} names what else a source takes"
            )

    def _none_for(self, device: str) -> str:
        kind = device.partition(":")[0]
        return f"template {self.name} has no variant for this {kind} device among those asked for"

    def _asked_for(self, variants: Sequence[str] | None, device: str) -> list[Variant]:
        """The variants that a config names, or all, of its device's kind."""
        kind = device.partition(":")[0]
        return [v for v in self.variants if kind in ("auto", v.device) and (not variants or v.name in variants)]


def _runs_on(variant: Variant, capability: tuple[int, int]) -> bool:
    return capability == variant.minimum if variant.exact else capability >= variant.minimum


def _narrow(knob: Knob, wanted: Sequence[Choice] | None) -> Knob | None:
    """The knob with only its choices that are `wanted`, None when that leaves none."""
    if wanted is None:
        return knob
    choices = tuple(c for c in knob.choices if any(type(c) is type(value) and c == value for value in wanted))
    if not choices:
        return None
    return Knob(knob.name, choices, knob.default if knob.default in choices else choices[0], knob.doc)


def find(name: str, relative_to: Path) -> Template:
    """The template called `name`, or the one in a folder when `name` is a path (it holds a `/`).

    Raises ConfigError when there is none.
    """
    return load(folder_of(name, relative_to))


def folder_of(name: str, relative_to: Path) -> Path:
    """Where the template called so lies; not whether it is a sound one. Raises ConfigError when there is none."""
    if "/" in name or name.startswith("."):
        folder = (relative_to / name).resolve()
        if not os.path.isfile(folder / "template.py"):
            raise ConfigError(f"template: {name}: no template.py in {folder}")
        return folder
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ConfigError(f"template: {name!r} is neither a name (letters, digits, _) nor a path with a /")
    if name not in shipped_names():
        raise ConfigError(f"template: {name!r} is not one of {', '.join(shipped_names())}")
    return shipped_folder() / name


def load(folder: Path) -> Template:
    """Read a template folder. Raises TemplateError when a part is missing or contradicts another."""
    template = _executed(folder.resolve())
    for fault in checks.faults(template.folder, template.variants):
        raise TemplateError(fault)
    return template


def faults(folder: Path) -> list[str]:
    """Everything that keeps `load` from reading a folder, each with its file; [] for a sound template."""
    try:
        template = _executed(folder.resolve())
    except TemplateError as fault:
        return [str(fault)]
    return list(checks.faults(template.folder, template.variants))


def _executed(folder: Path) -> Template:
    """What template.py says, whatever the other files do."""
    path = folder / "template.py"
    spec = importlib.util.spec_from_file_location(f"tuner_template_{folder.name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise TemplateError(f"{path}: not a template file")
    # It becomes part of the names of C++ modules.
    if not re.fullmatch(r"[A-Za-z0-9_]+", folder.name):
        raise TemplateError(f"{folder}: a template folder's name has letters, digits and _ alone")
    module = importlib.util.module_from_spec(spec)
    try:
        with shared_modules(folder):
            spec.loader.exec_module(module)
    except TemplateError as error:
        raise TemplateError(f"{_at(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:  # the template's own code
        raise TemplateError(f"{_at(path, error)}: {type(error).__name__}: {error}") from error
    variants, axes = getattr(module, "VARIANTS", None), getattr(module, "axes", None)
    if not callable(axes) or not isinstance(variants, tuple) or not variants:
        raise TemplateError(f"{path}: wants a function axes(init, shapes) and a tuple VARIANTS")
    if not all(isinstance(v, Variant) for v in variants) or len({v.name for v in variants}) != len(variants):
        raise TemplateError(f"{path}: VARIANTS wants Variant values with different names")
    return Template(folder.name, folder, variants, axes)


def _at(path: Path, error: BaseException) -> str:
    """The file, with the line of it that an exception came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f"{path}:{line}" if line else str(path)
