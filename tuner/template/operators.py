"""Names of PyTorch's operators, as a variant declares what it leaves to PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterable


def operators_fault(names: Iterable[object]) -> str:
    """What is wrong with these names of operators, in one line; "" when PyTorch has all of them.

    Loads torch when there are any: it alone knows its operators.
    """
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
            return f"{name!r} is not an operator's name such as 'gelu'"
        import torch

        if not torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
            return f"PyTorch {torch.__version__} has no operator aten::{name}"
    return ""
