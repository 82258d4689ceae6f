"""What `tuner.kernel` takes as a reference: a function, a class of modules or a problem file, as a problem's text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner import problem
from tuner.api import checks
from tuner.api.functions import arguments_of, as_class, as_function
from tuner.errors import ConfigError, line_of

_FIRST, _STEP = 61, 6  # sizes that a problem has by default, all different: 61, 67, 73, ...


@dataclass(frozen=True)
class Reference:
    """A reference that was given: the text of its problem file, and what its forward's inputs are."""

    text: str
    arguments: list[str]
    shapes: list[tuple[int, ...]]
    floats: tuple[str, ...]  # the dtypes of the floating-point inputs
    sizes: dict[int, str]  # a size by default to the parameter of `inputs` that it is


def read(reference: Any, inputs: Callable[..., Any] | None, init: Sequence[Any]) -> Reference:
    """Raises TunerError for what is no reference, and for what it lacks."""
    if isinstance(reference, str | Path):
        return _of_file(Path(reference), inputs, init)
    if not callable(reference):
        raise _nothing(reference)
    if inputs is None:
        raise ConfigError("inputs: wanted, unless reference is a problem file")
    if isinstance(reference, type):
        text, given = _of_class(reference, init), _forward(reference)
    elif inspect.isfunction(reference):
        if init:
            raise ConfigError("init: is for a reference that is a class")
        given = arguments_of(reference)
        called = ", ".join(given)
        text = f"{as_function(reference, 'reference', 'reference')}\n\nclass Model(nn.Module):\n"
        text += f"    def forward(self, {called}):\n        return reference({called})\n"
    else:
        raise _nothing(reference)
    head = "import math\n\nimport torch\nimport torch.nn as nn\n\n\n"
    text = f"{head}{text}\n\ndef get_init_inputs():\n    return {list(init)!r}\n{_get_inputs(inputs)}"
    return Reference(text, given, *_made(inputs))


def _nothing(reference: object) -> ConfigError:
    return ConfigError(f"reference: wants a function, a torch.nn.Module class or a problem file, not {reference!r:.80}")


def _of_file(path: Path, inputs: Callable[..., Any] | None, init: Sequence[Any]) -> Reference:
    if init:
        raise ConfigError("init: is for a reference that is a class")
    found = problem.load(path)
    text, given = path.read_text(encoding="utf-8"), _forward(found.model)
    if inputs is not None:  # in the place of the file's own
        text = f"{text}\n\nimport math\n\nimport torch\nimport torch.nn as nn\n{_get_inputs(inputs)}"
        return Reference(text, given, *_made(inputs))
    specs = problem.default_workload(found).inputs
    floats = tuple(dict.fromkeys(spec.dtype for spec in specs if "float" in spec.dtype))
    return Reference(text, given[: len(specs)], [spec.shape for spec in specs], floats, {})


def _of_class(reference: type, init: Sequence[Any]) -> str:
    import torch

    if not issubclass(reference, torch.nn.Module):
        raise _nothing(reference)
    try:
        inspect.signature(reference).bind(*init)
    except TypeError as error:
        raise ConfigError(f"reference: {reference.__name__}: init=({', '.join(map(repr, init))}): {error}") from error
    plain = (bool, int, float, str, list, tuple, type(None))
    if any(not isinstance(value, plain) for value in init):
        raise ConfigError("init: wants plain values: numbers, texts, lists")
    return as_class(reference, "Model", "reference")


def _forward(model: Any) -> list[str]:
    """The names of what a model's forward takes."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    if any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
        raise ConfigError("reference: its forward wants to take its inputs by position, each by a name")
    return [p.name for p in parameters]


def _get_inputs(inputs: Callable[..., Any]) -> str:
    sizes = ", ".join(map(str, _sizes(inputs)))
    return f"\n\n{as_function(inputs, 'inputs_of', 'inputs')}\n\ndef get_inputs():\n    return inputs_of({sizes})\n"


def _sizes(inputs: Callable[..., Any]) -> dict[int, str]:
    return {_FIRST + _STEP * i: name for i, name in enumerate(arguments_of(inputs))}


def _made(inputs: Callable[..., Any]) -> tuple[list[tuple[int, ...]], tuple[str, ...], dict[int, str]]:
    """The shapes of the inputs, of sizes that all differ, the dtypes of the floating-point ones, and the sizes."""
    import torch

    sizes = _sizes(inputs)
    try:
        made = inputs(*sizes)
    except Exception as error:  # the caller's own code
        raise ConfigError(f"inputs: of sizes {list(sizes)}: {line_of(error)}") from error
    is_list = isinstance(made, list | tuple) and all(isinstance(x, torch.Tensor) for x in made)
    checks.require(is_list, "inputs", "to return a list of tensors", made)
    names = [str(x.dtype).removeprefix("torch.") for x in made if x.is_floating_point()]
    return [tuple(x.shape) for x in made], tuple(dict.fromkeys(names)), sizes
