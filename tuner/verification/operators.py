"""Whose work it is: which operators of PyTorch a forward calls, and on how many elements.

A candidate may leave products to PyTorch, move data with it, and leave to it what its template
declares. Any other operator on a tensor of the reference's own size is a fall-back.
"""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from tuner.records import CaseResult
from tuner.verification.dispatch import DispatchMode, tensors_in

Work = dict[str, int]  # elements that each operator of PyTorch was given, over all its calls

# What a candidate may leave to PyTorch on tensors of any size: products, a bias added to them, moving data.
_ALLOWED = {
    "add", "addmv", "alias", "as_strided", "cat", "clone", "constant_pad_nd", "contiguous", "copy", "detach",
    "empty", "empty_like", "empty_strided", "expand", "fill", "flip", "full", "full_like", "index_select",
    "lift_fresh", "matmul", "mv", "narrow", "new_empty", "new_empty_strided", "new_full", "new_zeros", "ones",
    "ones_like", "permute", "record_stream", "repeat", "reshape", "reshape_alias", "resize", "roll", "select",
    "set", "slice", "split", "split_with_sizes", "squeeze", "stack", "t", "to", "to_copy", "transpose", "unbind",
    "unfold", "unsafe_view", "unsqueeze", "view", "view_as", "view_dtype", "zero", "zeros", "zeros_like",
}  # fmt: skip


def fallbacks(work: Work, large: int | None) -> set[str]:
    """The operators that were called on `large` elements or more, at once or piece by piece; None: not judged."""
    return set() if large is None else {name for name, elements in work.items() if elements >= large}


def both(one: Work, other: Work) -> Work:
    """What two ways of looking at the same forward saw; the larger number where both saw an operator."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one | other}


def own_work(found: set[str], leaves: Collection[str] = ()) -> CaseResult:
    """The case that a candidate passes when it leaves to PyTorch no more than products and what it declares.

    `found` are the operators that did its work; one in `leaves` stands for its in-place form as well.
    """
    declared = {name.strip("_") for name in leaves}
    left = {name for name in found if name.strip("_") in declared}
    if found - left:
        return CaseResult(
            name="own work", ok=False, detail=f"falls back to PyTorch's own {', '.join(sorted(found - left))}"
        )
    return CaseResult(name="own work", ok=True, detail=f"leaves {', '.join(sorted(left))} to PyTorch" if left else "")


class Operators(DispatchMode):
    """Notes the operators of PyTorch that are called inside, with the elements of their largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0  # elements of the largest product's result
        self.largest = 1  # of the other operators' calls
        self.work: Work = {}  # of the other operators: pieces add up

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace != "aten":  # an operator of somebody's own: what it calls is seen by the trace
            return result
        name = func.overloadpacket.__name__
        plain = name.strip("_")
        size = max((t.numel() for t in tensors_in([*args, *(kwargs or {}).values(), result])), default=0)
        if _is_product(plain):
            self.products = max([self.products, *(t.numel() for t in tensors_in(result))])
        elif plain not in _ALLOWED:
            self.work[name] = self.work.get(name, 0) + size
            self.largest = max(self.largest, size)
        return result

    def large(self) -> int:
        """The size of what the reference computes: its product's result, or its largest tensor without one."""
        return self.products or self.largest


class Everywhere:
    """Notes PyTorch's operators by its execution trace: on every thread, and where its modes are disabled.

    What a product (a convolution, say) calls inside itself is the product's; what an operator
    that is noted calls inside itself is its own, with the elements of the largest of them.
    """

    def __init__(self) -> None:
        self.work: Work = {}  # as in `Operators`

    def __enter__(self) -> Everywhere:
        handle, self.path = tempfile.mkstemp(prefix=f"tuner-worker-{os.getpid()}-", suffix=".json")
        os.close(handle)
        self.observer = torch.profiler.ExecutionTraceObserver()
        self.observer.register_callback(self.path)
        self.observer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.observer.stop()
        self.observer.unregister_callback()
        nodes = json.loads(Path(self.path).read_text())["nodes"]
        os.unlink(self.path)
        # PyTorch 2.1 has "parent" and "input_shapes", later ones "ctrl_deps" and "inputs": {"shapes": ...}.
        caller: dict[int, int] = {node["id"]: node.get("ctrl_deps", node.get("parent", 0)) for node in nodes}
        overloads: dict[int, str] = {node["id"]: _overload(node) for node in nodes}
        names = {at: overload[6:].partition(".")[0] for at, overload in overloads.items()}

        def is_noted(at: int) -> bool:
            plain = names[at].strip("_")
            return bool(plain) and plain not in _ALLOWED and not _is_product(plain) and not _is_composite(overloads[at])

        def outermost(at: int) -> int | None:
            """The call whose work a noted one is: the outermost noted one that it lies in; None inside a product."""
            found = at
            while at in names and caller[at] != at:
                at = caller[at]
                if _is_product(names.get(at, "").strip("_")):
                    return None
                if at in names and is_noted(at):
                    found = at
            return found

        calls: dict[int, int] = {}  # elements of each outermost call
        for node in nodes:
            outer = outermost(node["id"]) if is_noted(node["id"]) else None
            if outer is not None:
                elements = max(_elements(_shapes(node, k)) for k in ("input", "output"))
                calls[outer] = max(elements, calls.get(outer, 0))
        for outer, elements in calls.items():
            self.work[names[outer]] = self.work.get(names[outer], 0) + elements


def _shapes(node: dict[str, Any], which: str) -> Any:
    held = node[f"{which}s"]
    return held["shapes"] if isinstance(held, dict) else node[f"{which}_shapes"]


def _is_product(plain: str) -> bool:
    return "conv" in plain or plain.endswith(("mm", "linear"))


def _overload(node: dict[str, Any]) -> str:
    """The operator of PyTorch that was called, such as aten::sum.dim_IntList; "" for anything else.

    Custom operators and the profiler's scopes, which have no schema whatever their name, hide nothing.
    PyTorch 2.1 has the schema beside the name, later ones among the attributes.
    """
    attributes = {attribute["name"]: attribute["value"] for attribute in node.get("attrs", ())}
    overload = str(node.get("op_schema", attributes.get("op_schema", ""))).partition("(")[0]
    return overload if overload.startswith("aten::") else ""


@functools.cache
def _is_composite(overload: str) -> bool:
    """Whether an operator only calls others, which are seen themselves."""
    if not torch._C._dispatch_has_kernel(overload):
        return False  # TorchScript's own
    return torch._C._dispatch_has_kernel_for_dispatch_key(overload, "CompositeImplicitAutograd")


def _elements(shapes: Any) -> int:
    """The elements of the largest of these shapes, nested as the trace has them."""
    if all(isinstance(n, int) for n in shapes):
        return math.prod(shapes)
    return max((_elements(s) for s in shapes if isinstance(s, list)), default=0)
