"""Work handed out of PyTorch's sight: to other libraries, to other processes, over the network.

A hook of Python's audit events cannot be taken out again. It notes what happens while a
candidate is called; what its compilers do while it is built is none of its business.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import torch
from torch.overrides import TorchFunctionMode

PROCESS_EVENTS = {
    "subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn",
}  # fmt: skip
NETWORK_EVENTS = {"socket.connect", "socket.bind", "socket.sendto"}
HANDS_OUT = {torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.tolist, torch.Tensor.__dlpack__}


def foreign_imports(text: str) -> list[str]:
    """Modules that a candidate's text imports beside PyTorch and the standard library."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []  # said when it is loaded
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return sorted(found - set(sys.stdlib_module_names) - {"torch"})


class _Tensors(TorchFunctionMode):
    """Notes what hands the values of a tensor to another library."""

    def __init__(self, noted: set[str]) -> None:
        super().__init__()
        self.noted = noted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in HANDS_OUT:
            self.noted.add(f"{func.__name__} hands a tensor to another library")
        return func(*args, **(kwargs or {}))


class OutsideWork:
    """Notes what a candidate hands out while it is watched. One a process: an audit hook stays for ever."""

    def __init__(self) -> None:
        self._noted: set[str] = set()
        self._watching = False
        self._children = self._living_children()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: Any) -> None:
        if self._watching and event in PROCESS_EVENTS | NETWORK_EVENTS:
            self._noted.add(f"{event} hands work to another process")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, a candidate is called."""
        self._watching = True
        try:
            with _Tensors(self._noted):
                yield
        finally:
            self._watching = False

    def forget(self) -> None:
        """Start anew, for another candidate."""
        self._noted.clear()
        self._children = self._living_children()

    def said(self) -> str:
        """What was noted so far, in one line; "" for nothing. A child that a candidate keeps is noted, too."""
        noted = set(self._noted)
        if self._living_children() - self._children:
            noted.add("a child process that it keeps")
        return "; ".join(sorted(noted))

    @staticmethod
    def _living_children() -> set[int]:
        return {p.pid for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE}
