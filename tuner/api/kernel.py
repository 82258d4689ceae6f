"""`tuner.kernel(...)`: a template from Python functions and a source, in one call."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner import kernels, problem, template
from tuner.api import checks
from tuner.api.functions import arguments_of, as_expression, as_function
from tuner.api.reference import Reference, read
from tuner.api.result import Result, run
from tuner.errors import ConfigError
from tuner.scaffold import dtypes
from tuner.scaffold.includes import included, whole_text
from tuner.scaffold.source import knobs as defaults_of
from tuner.settings import changed, load, python_templates, working_folder
from tuner.space import Choice

Function = Callable[..., Any]


class Kernel:
    """The kernel of a template's folder. `tune` searches it; called, it is the winner for the nearest shapes.

    `inputs(*sizes)` makes the inputs that the shapes given to `tune` are of; without it those are the inputs' own.
    Raises TunerError for a folder that is no sound template.
    """

    def __init__(self, folder: str | Path, inputs: Function | None = None) -> None:
        self.folder, self.inputs = Path(folder).resolve(), inputs
        if not (self.folder / "template.py").is_file():
            raise ConfigError(f"{folder}: no template.py in it")
        template.load(self.folder)
        self._models: dict[Any, Any] = {}  # by dtype

    def tune(
        self,
        shapes: Sequence[Sequence[Any]] | None = None,
        seconds: float | None = None,
        trials: int | None = None,
        **options: Any,
    ) -> Result:
        """Search, one workload for each of `shapes`; the winners are cached.

        A shape is the arguments of `inputs`, or without that as in a config: one of an input, or a list of all inputs'.
        `seconds` and `trials` limit each search; `options` are further keys of a config, which without them has its
        defaults. Raises TunerError.
        """
        values: dict[str, Any] = {"trials": trials, "time_budget_s": seconds, **options}
        if shapes is not None:
            make = self.inputs
            given_shapes = shapes if make is None else [[tuple(x.shape) for x in make(*sizes)] for sizes in shapes]
            values["shapes"] = given_shapes
        given = {key: value for key, value in values.items() if value is not None}
        settings = changed(load(self.folder), given, {"time_budget_s": "seconds"})
        self._models.clear()
        return run(settings, self.folder)

    def __call__(self, *inputs: Any) -> Any:
        """The winner's result, of a model with the problem's own constructor arguments.

        It is cast where its parameters are of another dtype than the inputs.

        Raises CacheError where nothing was tuned for this device.
        """
        dtype = next((x.dtype for x in inputs if x.is_floating_point()), None)  # what parameters are of, too
        if dtype not in self._models:
            device = "cuda" if inputs[0].device.type == "cuda" else "cpu"
            model_new = kernels.load(str(self.folder), device=device)
            model = model_new(*problem.load(self.folder / "problem.py").get_init_inputs()).to(inputs[0].device)
            cast = any(parameter.dtype != dtype for parameter in model.parameters())
            self._models[dtype] = model.to(dtype) if cast and dtype else model
        return self._models[dtype](*inputs)

    def save(self, folder: str | Path) -> Path:
        """Write the template's folder, for `tuner search FOLDER` and to be edited. Raises ConfigError where one is."""
        to = Path(folder)
        if to.exists():
            raise ConfigError(f"{to}: is there already")
        shutil.copytree(self.folder, to)
        return to


def kernel(
    source: str | Path,
    symbol: str,
    reference: Function | type | str | Path,
    inputs: Function | None = None,
    *,
    outputs: Function,
    arguments: Function,
    knobs: Mapping[str, Sequence[Choice]],
    constraints: Mapping[str, Function] | None = None,
    name: str = "",
    init: Sequence[Any] = (),
) -> Kernel:
    """A kernel from its source and a few functions, which may use torch, nn and math.

    `symbol` is the launcher, called with what `arguments(*inputs, *outputs)` returns, and the stream. `inputs(*sizes)`
    makes a list of tensors, `outputs(*inputs)` room for the results, `reference(*inputs)` the right ones. `knobs` maps
    a knob to its choices; `constraints` maps a rule's name to `lambda k, f: ...`, where k has the knobs and f the sizes
    by the names of `inputs`' parameters.

    `reference` may also be a torch.nn.Module class, constructed with `init`, or the path of a problem file, whose
    inputs need not be given: `f` then has the sizes by place, size0_1 the second of the first input. Where the first
    parameter of `outputs` or `arguments` is named `model`, it is given the model, for its weights. Raises TunerError.
    """
    source = checks.path("source", source)
    is_symbol = isinstance(symbol, str) and re.fullmatch(r"[A-Za-z_]\w*", symbol, re.ASCII) is not None
    checks.require(is_symbol, "symbol", "the name of a C function", symbol)
    for role, function in {"inputs": inputs, "outputs": outputs, "arguments": arguments}.items():
        if role != "inputs" or inputs is not None:
            checks.function(role, function)
    checks.named("knobs", knobs, "a mapping of names to choices")
    for knob, choices in knobs.items():
        checks.values(f"knobs[{knob!r}]", choices, "a list of choices")
        checks.require(len(choices) > 0, f"knobs[{knob!r}]", "a list of choices", choices)
    checks.named("constraints", {} if constraints is None else constraints, "a mapping of names to functions")
    checks.require(isinstance(name, str), "name", "a lower-case identifier", name)
    checks.values("init", init)
    if source.suffix not in (".cu", ".cpp") or not source.is_file():
        raise ConfigError(f"source: {source}: is not a .cu or a .cpp file")
    name = name or source.stem.lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(f"name: {name!r} is not a lower-case identifier")
    given = read(reference, inputs, init)
    texts = {
        "problem.py": given.text,
        f"{name}.py": _host(name, symbol, given, outputs, arguments),
        "template.py": _template(name, source, given, knobs, constraints or {}),
    }
    folder = python_templates(working_folder()) / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (source, *included(source)):
        shutil.copy(file, folder)
    for file_name, text in texts.items():
        (folder / file_name).write_text(text, encoding="utf-8")
    return Kernel(folder, inputs)


def _host(name: str, symbol: str, reference: Reference, outputs: Function, arguments: Function) -> str:
    given = ", ".join(reference.arguments)
    aligned = "".join(f"    {x} = aligned({x})\n" for x in reference.arguments)
    first, then = ("model, " if arguments_of(f)[:1] == ["model"] else "" for f in (outputs, arguments))
    return (
        f"{as_function(outputs, f'{name}_outputs', 'outputs')}\n\n"
        f"{as_function(arguments, f'{name}_arguments', 'arguments')}\n\n"
        f"def {name}(model, kernel, {given}):\n{_guard(name, reference)}{aligned}"
        f"    results = {name}_outputs({first}{given})\n"
        "    several = results if isinstance(results, (list, tuple)) else [results]\n"
        f'    kernel.launch("{symbol}", *{name}_arguments({then}{given}, *several))\n'
        "    return results\n"
    )


def _guard(name: str, reference: Reference) -> str:
    """A refusal of inputs that no sizes are of: another number of dimensions, or one size that is two numbers."""
    called, given, shapes = reference.sizes, reference.arguments, reference.shapes
    first: dict[str, str] = {}
    differ = []
    for tensor, shape in zip(given, shapes, strict=False):
        differ.append(f"{tensor}.dim() != {len(shape)}")
        for axis, number in enumerate(shape):
            here = f"{tensor}.shape[{axis}]"
            if number in called and first.setdefault(called[number], here) != here:
                differ.append(f"{here} != {first[called[number]]}")
    wanted = ", ".join(f"({', '.join(called.get(number, str(number)) for number in shape)})" for shape in shapes)
    found = ", ".join(f"{{tuple({tensor}.shape)}}" for tensor in given)
    return f"    if {' or '.join(differ)}:\n        raise RuntimeError(f'{name} takes {wanted}, not {found}')\n"


def _template(
    name: str,
    source: Path,
    given: Reference,
    knobs: Mapping[str, Sequence[Choice]],
    constraints: Mapping[str, Function],
) -> str:
    text = whole_text(source)
    known = defaults_of(text, source.name)
    floats = given.floats
    has_element = dtypes.has_element(text) and set(floats) <= set(dtypes.OF_ELEMENT)
    taken = dtypes.OF_ELEMENT if has_element else floats or ("float32",)
    lines = []
    for knob, choices in knobs.items():
        default = known[knob][1] if knob in known and known[knob][1] in choices else choices[0]
        lines.append(f"            Knob({knob!r}, {tuple(choices)!r}, {default!r}),\n")
    rules = [
        f"            Constraint({rule!r}, {as_expression(allows, f'constraints[{rule!r}]')}),\n"
        for rule, allows in constraints.items()
    ]
    return (
        "from tuner.space import Constraint, Knob\nfrom tuner.template import Variant\n\n\n"
        f"def axes(init, shapes):\n    return {_axes(given)}\n\n\n"
        f'VARIANTS = (\n    Variant(\n        name="{name}",\n'
        f'        device="{"cuda" if source.suffix == ".cu" else "cpu"}",\n        source="{source.name}",\n'
        f"{dtypes.arguments(taken, len(floats) > 1)}"
        f"        knobs=(\n{''.join(lines)}        ),\n        constraints=(\n{''.join(rules)}        ),\n    ),\n)\n"
    )


def _axes(given: Reference) -> str:
    """Each parameter of `inputs` as the size of the inputs that it is; without that, every size by its place."""
    if not given.sizes:
        return '{f"size{i}_{j}": size for i, shape in enumerate(shapes) for j, size in enumerate(shape)}'
    found = []
    for size, name in given.sizes.items():
        at = next(((j, shape.index(size)) for j, shape in enumerate(given.shapes) if size in shape), None)
        if at is None:
            raise ConfigError(f"inputs: {name} is no size of a tensor that it makes; write a template folder instead")
        found.append(f'"{name}": shapes[{at[0]}][{at[1]}]')
    return f"{{{', '.join(found)}}}"
