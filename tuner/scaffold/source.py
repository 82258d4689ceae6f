"""What a source says of itself, and the files that follow from it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tuner.errors import TemplateError
from tuner.problem import static
from tuner.scaffold import dtypes
from tuner.template.signatures import Signature, signatures, without_comments

_DEFAULT = re.compile(
    r"^[ \t]*#[ \t]*ifndef[ \t]+(\w+)[ \t]*\n[ \t]*#[ \t]*define[ \t]+\1[ \t]+(\d+)[ \t]*$", re.MULTILINE
)
MOST_THREADS = 1024  # of a block


def launcher(text: str, file: Path) -> Signature:
    """The function that a call begins with: the first that is exported and writes somewhere. Raises TemplateError."""
    for signature in signatures(text).values():
        pointers = [p for p in signature.arguments if p.is_pointer]
        if pointers and signature.returns in ("int", "void"):
            return signature
    raise TemplateError(f'{file}: exports nothing that can be called; a launcher is declared extern "C" int NAME(...)')


def knobs(text: str, file: str) -> dict[str, tuple[tuple[int, ...], int]]:
    """Choices and default of each macro that the source uses, and gives a whole number as default under #ifndef."""
    found = {}
    text = without_comments(text)
    for macro, number in _DEFAULT.findall(text):
        if len(re.findall(rf"\b{macro}\b", text)) <= 2:  # its own guard; it would be searched in vain
            continue
        default = int(number)
        choices = (0, 1) if default <= 1 and _is_switch(macro, text) else _choices(default)
        if file.endswith(".cu") and re.search("BLOCK|THREADS", macro):
            choices = tuple(choice for choice in choices if choice <= max(MOST_THREADS, default))
        if macro.lower().isidentifier() and macro == macro.upper():
            found[macro.lower()] = choices, default
    return found


def _is_switch(macro: str, text: str) -> bool:
    """Whether the source only asks whether it is 0: by `#if M`, `if (M)`, `if constexpr (!M)` or `= M ? a : b`."""
    guards = rf"#[ \t]*(?:ifndef|define)[ \t]+{macro}\b"
    directives = rf"#[ \t]*(?:el)?if[ \t]+!?{macro}[ \t]*$"
    conditions = rf"\bif\s*(?:constexpr\s*)?\(\s*!?{macro}\s*\)|(?:[=(,]|\breturn)\s*{macro}\s*\?"
    asked = re.findall(f"{guards}|{directives}|{conditions}", text, re.MULTILINE)
    return len(asked) == len(re.findall(rf"\b{macro}\b", text))


def _choices(default: int) -> tuple[int, ...]:
    """Powers of two around one, whole numbers around any other; 0 is off, and 1 on."""
    if default <= 1:
        return (0, 1) if default == 0 else (1, 2, 4)
    if default & (default - 1) == 0:
        return tuple(sorted({max(1, default // 4), max(1, default // 2), default, 2 * default, 4 * default}))
    return tuple(sorted({max(1, default // 2), default, 2 * default}))


def template_text(name: str, file: str, text: str, function: Signature) -> str:
    found = knobs(text, file)
    taken, mixed = dtypes.of_launcher(function, text)
    device = "cuda" if file.endswith(".cu") else "cpu"
    lines = [f'            Knob("{knob}", {choices}, {default}),\n' for knob, (choices, default) in found.items()]
    return f'''"""The search space of {file}: its knobs, and what no point may be. Plain Python, without torch."""

from tuner.space import Constraint, Knob  # noqa: F401
from tuner.template import Variant


def axes(init, shapes):
    """Named sizes of a workload, for constraints: size1_0 is the first of the second input."""
    return {{f"size{{i}}_{{j}}": size for i, shape in enumerate(shapes) for j, size in enumerate(shape)}}


VARIANTS = (
    Variant(
        name="{name}",
        device="{device}",
        source="{file}",
{dtypes.arguments(taken, mixed)}        knobs=(
{"".join(lines)}        ),
        # Rules: k has the knobs, f has the sizes and the device's limits, such as
        # Constraint("whole vectors", lambda k, f: f.size0_1 % k.vector_width == 0),
        constraints=(),
    ),
)
'''


def host_text(name: str, function: Signature, text: str, problem: Path) -> str:
    """The host function: what the call most likely is, from the names and types of the launcher's parameters."""
    forward = static.arguments(problem, "Model", "forward")
    inputs = [argument.arg for argument in forward.args[1:]] if forward else ["x"]
    attributes, first = _attributes(problem), inputs[0] if inputs else "x"
    written = _written(function, text)
    sizes = [p for p in function.arguments if not p.is_pointer and p.type not in ("float", "double")]
    own = static.own_workload(problem)
    dimensions = len(own[1][0]) if own else 2
    tensors, numbers = list(inputs), _sizes(first, len(sizes), dimensions)
    values = []
    for parameter in function.arguments:
        if parameter.is_pointer and parameter.name == written:
            values.append("out")
        elif parameter.is_pointer and parameter.name in attributes:
            values.append(f"aligned(model.{parameter.name})")
        elif parameter.is_pointer:
            values.append(f"aligned({tensors.pop(0)})" if tensors else "None")
        elif parameter.type in ("float", "double"):
            values.append(f"model.{parameter.name}" if parameter.name in attributes else "1.0")
        elif parameter.name in ("threads", "num_threads"):
            values.append("torch.get_num_threads()")
        else:
            values.append(numbers.pop(0) if numbers else f"{first}.numel()")
    guards = "".join(
        f"    if model.{p.name}.numel() not in (1, *{first}.shape):\n"
        f'        raise RuntimeError(f"{name}: {p.name} does not suit an input of {{tuple({first}.shape)}}")\n'
        for p in function.arguments
        if p.is_pointer and p.name in attributes
    )
    call = ", ".join([f'"{function.name}"', *values])
    return f'''"""Host side of {name}, as far as the launcher's signature tells: see that it is right."""

import torch


def {name}(model, kernel, {", ".join(inputs)}):
{guards}    out = torch.empty_like({first}, memory_format=torch.contiguous_format)
    # {function.name}({", ".join(f"{p.type} {p.name}" for p in function.arguments)})
    kernel.launch({call})
    return out
'''


_MAKERS = {"long long": "torch.randint(0, 64, ({sizes}))", "bool": "torch.rand({sizes}) > 0.5"}


def problem_text(function: Signature, text: str) -> str:
    """A problem whose inputs are the launcher's, and whose forward is still to be written."""
    written = _written(function, text)
    pointers = [p for p in function.arguments if p.is_pointer and p.name != written]
    sizes = [p for p in function.arguments if not p.is_pointer and p.type not in ("float", "double")]
    shape = ", ".join(["1024"] if len(sizes) == 1 else ["16"] * (len(sizes) - 2) + ["512", "1024"])
    numbers = [p.name for p in function.arguments if p.type in ("float", "double")]
    made = [_MAKERS.get(p.type.rstrip("*"), "torch.randn({sizes})").format(sizes=shape) for p in pointers]
    assigned = "".join(f"        self.{name} = {name}\n" for name in numbers)
    constructor = f"    def __init__({', '.join(['self', *numbers])}):\n        super().__init__()\n{assigned}\n"
    return f'''"""The reference: what {function.name} computes, in the KernelBench format."""

import torch
import torch.nn as nn


class Model(nn.Module):
{constructor if numbers else ""}    def forward(self, {", ".join(p.name for p in pointers) or "x"}):
        raise NotImplementedError("write here, with PyTorch, what {function.name} computes")


def get_inputs():
    return [{", ".join(made) or f"torch.randn({shape})"}]


def get_init_inputs():
    return [{", ".join("1.0" for _ in numbers)}]
'''


def _written(function: Signature, text: str) -> str:
    """The pointer that the result goes to: one named so, else the last that is not const."""
    pointers = [p.name for p in function.arguments if p.is_pointer]
    named = [name for name in pointers if name in ("out", "output", "y", "result", "dst")]
    declared = text[text.index(function.name) :] if function.name in text else ""
    inside = declared[: declared.find("{")]
    open_ones = [name for name in pointers if not re.search(rf"const[^,]*\b{name}\b", inside)]
    return (named or open_ones or pointers)[-1]


def _sizes(tensor: str, count: int, dimensions: int) -> list[str]:
    """Numbers of elements along the tensor's dimensions, whose product is all of them."""
    if count == dimensions and count > 1:
        return [f"{tensor}.shape[{i}]" for i in range(dimensions)]
    if count == 2:
        return [f"{tensor}.numel() // {tensor}.shape[-1]", f"{tensor}.shape[-1]"]
    own = [f"{tensor}.shape[{i}]" for i in range(min(count - 1, dimensions))]
    rest = f"{tensor}.shape[{len(own)}:].numel()" if own else f"{tensor}.numel()"
    return [*own, *["1"] * (count - 1 - len(own)), rest]


def _attributes(problem: Path) -> set[str]:
    """What the constructor of Model assigns to self."""
    tree = ast.parse(problem.read_bytes())
    targets = [t for n in ast.walk(tree) if isinstance(n, ast.Assign) for t in n.targets]
    return {t.attr for t in targets if isinstance(t, ast.Attribute) and ast.unparse(t.value) == "self"}
