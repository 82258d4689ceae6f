"""Everything that can be said of a config or a template folder without running the problem or a compiler."""

from __future__ import annotations

import ast
import os
import random
from pathlib import Path
from typing import Any

from tuner import template
from tuner.backends.cuda import shared_memory_per_block
from tuner.errors import TunerError
from tuner.problem import static
from tuner.settings import resolve
from tuner.settings.model import Settings
from tuner.space import Branch, Space
from tuner.template import Template, Variant
from tuner.template.shared import host_file

DRAWN = 20  # random points that each constraint is asked about


def faults(settings: Settings) -> list[str]:
    """Every fault of a config, of its template's files and of its problem; [] for none."""
    folder = resolve.template_folder(settings)
    problem = settings.problem or folder / "problem.py"
    found = template.faults(folder)
    if problem.is_file():
        found += [*static.faults(problem), *_constructors(folder, problem)]
        found += [] if found else _hosts(template.load(folder), problem)
    if not found:
        try:
            kernel = resolve.checked_template(settings)
            found = _space_faults(settings, kernel, problem)
        except TunerError as fault:
            found = [str(fault)]
    return found


def _constructors(folder: Path, problem: Path) -> list[str]:
    """ModelNew's constructor is Model's: the same names and defaults in the same order."""
    path = folder / "model_new.py"
    if not path.is_file():
        return []
    wanted, given = static.arguments(problem, "Model"), static.arguments(path, "ModelNew")
    if wanted is None or given is None or ast.unparse(wanted) == ast.unparse(given):
        return []
    line = given.args[0].lineno if given.args else 0
    return [f"{path}:{line}: ModelNew takes ({ast.unparse(given)}), Model in {problem.name} ({ast.unparse(wanted)})"]


def _hosts(kernel: Template, problem: Path) -> list[str]:
    """A host function takes a model, a kernel and what forward takes, where no model_new.py hands it something else."""
    given, found = static.constructor(problem, "Model", "forward"), list[str]()
    if given is None or (kernel.folder / "model_new.py").is_file():
        return []
    for variant in kernel.variants:
        path = host_file(kernel.folder, variant.host)
        tree = ast.parse(path.read_bytes())
        hosts = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == variant.host]
        for host in hosts[-1:]:
            least, most = (count - 2 for count in static.positional(host.args))
            if least > given[1] or most < given[0]:
                wanted = f"{given[0]}" if given[0] == given[1] else f"{given[0]} to {given[1]}"
                said = f"takes {least} inputs after model and kernel; forward in {problem.name} takes {wanted}"
                found.append(f"{path}:{host.lineno}: {host.name} {said}")
    return list(dict.fromkeys(found))


def _space_faults(settings: Settings, kernel: Template, problem: Path) -> list[str]:
    """Constraints that raise, or that leave no point on a large device, on the workloads that are known."""
    own = static.own_workload(problem)
    init = settings.init if settings.init is not None else own[0] if own else None
    shapes = settings.input_shapes or ((tuple(own[1]),) if own else ())
    if init is None:
        return []
    found: list[str] = []
    for each in shapes:
        for variant in kernel.variants:
            facts = kernel.facts(init, each, _limits(variant))  # raises for a workload that it does not take
            space = Space((Branch(variant.name, variant.knobs, variant.constraints),), facts)
            try:
                rng = random.Random(0)
                for _ in range(DRAWN):
                    space.rejected_by(space.drawn(rng))
                if not space.defaults:
                    found.append(f"{kernel.folder / 'template.py'}: {[list(s) for s in each]}: {space.emptiness()}")
            except TunerError as fault:
                found.append(f"{_line_of(fault, kernel, variant)}: {fault}")
    return list(dict.fromkeys(found))


def _limits(variant: Variant) -> dict[str, Any]:
    """Of a large device that runs the variant."""
    if variant.device == "cpu":
        cores = os.cpu_count() or 1
        return {"device": "cpu", "cores": cores, "capability": (0, 0), "shared_memory_per_block": 0}
    capability = variant.minimum if variant.exact else max(variant.minimum, (9, 0))
    shared = shared_memory_per_block(capability)
    return {"device": "cuda", "cores": 132, "capability": capability, "shared_memory_per_block": shared}


def _line_of(fault: TunerError, kernel: Template, variant: Variant) -> str:
    """template.py, with the line that the constraint named by the fault stands on where it stands there."""
    path = kernel.folder / "template.py"
    name = next((c.name for c in variant.constraints if repr(c.name) in str(fault)), None)
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next((i for i, line in enumerate(lines, 1) if name and f'"{name}"' in line), None)
    return f"{path}:{at}" if at else str(path)
