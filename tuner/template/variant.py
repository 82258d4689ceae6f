"""A variant: one source of a template, its knobs, and the device that it runs on."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tuner.errors import TemplateError
from tuner.records import FLOATING
from tuner.space import Constraint, Knob
from tuner.template.operators import operators_fault

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Variant:
    """One way to compute the problem, with its own knobs.

    `device` is "cuda" or "cpu"; `source` a file of the folder; `minimum` the lowest compute
    capability it runs on; with `exact` it runs on that architecture alone (sm_90a).

    `host` names the function `def HOST(model, kernel, *inputs)` in HOST.py of the folder or of include/; left
    out, it is the variant's own name. Variants that share a host export what it launches under the same symbols.

    `leaves` names the operators that its host leaves to PyTorch, without namespace and overload ("gelu"): beside
    products and moving data, which every candidate may, these count as no fall-back, and every record says so.

    `dtypes` names the dtypes, as torch calls them, of which its floating-point inputs may be, all of one at a time, or
    with `mixed` each of any; a workload of another is not its. Integers and truth values come as the problem gives
    them; where `dtypes` names some of these too, they are the only ones.
    """

    name: str
    device: str
    source: str
    knobs: tuple[Knob, ...]
    constraints: tuple[Constraint, ...] = ()
    minimum: tuple[int, int] = (0, 0)
    exact: bool = False
    doc: str = ""
    host: str = ""
    leaves: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)
    mixed: bool = False

    def __post_init__(self) -> None:
        # The host becomes a Python function's name, the source a file's of the template's own folder.
        if not isinstance(self.name, str) or not _IDENTIFIER.fullmatch(self.name):
            raise TemplateError(f"variant {self.name!r}: a name is a lower-case identifier")
        if self.host == "":
            object.__setattr__(self, "host", self.name)
        if not isinstance(self.host, str) or not _IDENTIFIER.fullmatch(self.host) or keyword.iskeyword(self.host):
            raise TemplateError(f"variant {self.name}: host is a lower-case identifier, not {self.host!r}")
        if self.device not in ("cuda", "cpu"):
            raise TemplateError(f"variant {self.name}: device is 'cuda' or 'cpu', not {self.device!r}")
        if not isinstance(self.source, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.source):
            raise TemplateError(f"variant {self.name}: source is the name of a file, not {self.source!r}")
        if not isinstance(self.knobs, tuple) or not all(isinstance(k, Knob) for k in self.knobs):
            raise TemplateError(f"variant {self.name}: knobs wants a tuple of Knob")
        if len({knob.name for knob in self.knobs}) != len(self.knobs):
            raise TemplateError(f"variant {self.name}: two knobs have one name")
        if not isinstance(self.constraints, tuple) or not all(isinstance(c, Constraint) for c in self.constraints):
            raise TemplateError(f"variant {self.name}: constraints wants a tuple of Constraint")
        if not isinstance(self.leaves, tuple):
            raise TemplateError(f"variant {self.name}: leaves wants a tuple of operators' names, not {self.leaves!r}")
        if not isinstance(self.dtypes, tuple) or not self.dtypes or not all(isinstance(d, str) for d in self.dtypes):
            raise TemplateError(f"variant {self.name}: dtypes wants a tuple of names such as ('float32',)")
        if not isinstance(self.mixed, bool):
            raise TemplateError(f"variant {self.name}: mixed is True or False, not {self.mixed!r}")
        fault = operators_fault(self.leaves)
        if fault:
            raise TemplateError(f"variant {self.name}: leaves: {fault}")
        minimum = self.minimum
        if not isinstance(minimum, tuple) or len(minimum) != 2 or not all(type(n) is int and n >= 0 for n in minimum):
            raise TemplateError(f"variant {self.name}: minimum is a compute capability such as (9, 0), not {minimum!r}")

    def takes(self, dtypes: Iterable[str]) -> bool:
        """Whether it is written for inputs of these dtypes."""
        found, known = set(dtypes), set(self.dtypes)
        floats = found & set(FLOATING)
        others = found - floats
        return (len(floats) <= 1 or self.mixed) and floats <= known and (others <= known or known <= set(FLOATING))
