"""Known ways to fool such a harness, as candidates made from a problem's own reference.

`self.own(x)` stands for a kernel of the candidate's own: the reference's result,
computed where neither PyTorch's modes nor its execution trace look. Each trick
is the body of a forward and a part of what is said when it is caught. That
stand-in is itself a way to fool the harness; it is counted under UNCAUGHT.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import _enable_record_function
from torch.utils._python_dispatch import _disable_current_modes

from tuner.execution.examination import Examination, Sides
from tuner.measurement.bench import Bench
from tuner.measurement.judging import Judging
from tuner.records import Evaluation, TensorSpec, Workload

ROOT = Path(__file__).resolve().parent.parent

# Small workloads: (input shape, constructor's arguments).
SMALL = {
    "gn_mean": ((4, 3, 6, 8, 10), (3, 6, 3, 2)),
    "hardswish_gn_mean": ((4, 3, 6, 7, 9), (3, 8, 4)),
    "relu_gn": ((4, 6, 3, 4, 5), (6, 8, 3, 2, False)),
    "gn_min_bias": ((16, 32), (32, 48, 6, (1, 48, 1, 1))),
}

HEAD = """

import copy
import threading
import time

from torch.utils._python_dispatch import _disable_current_modes

Reference, KEPT, COUNTS = Model, {}, {"hits": 0, "calls": 0}


class Lazy(torch.Tensor):
    pass


class ModelNew(Reference):
    def own(self, x):
        return self.unseen(lambda: Reference.forward(self, x))

    def unseen(self, work):
        torch.autograd._enable_record_function(False)
        try:
            with _disable_current_modes():
                return work()
        finally:
            torch.autograd._enable_record_function(True)

    def forward(self, x):
"""

CONTROL = "return self.own(x)"

TRICKS = {
    "writes nothing": ("return torch.empty(self.own(x).shape)", "not written"),
    "returns the previous result": (
        "y = self.own(x); old = KEPT.get('y', y); KEPT['y'] = y.clone(); return old.clone()",
        "error",
    ),
    "remembers by pointer": (
        "key = x.data_ptr()\nif key not in KEPT:\n    KEPT[key] = self.own(x)\nreturn KEPT[key].clone()",
        "",
    ),
    "modifies its input": ("y = self.own(x)\nx.zero_()\nreturn y", "modified its input"),
    "modifies a parameter": (
        "y = self.own(x)\nnext(self.parameters()).data.zero_()\nreturn y",
        "changed its parameter",
    ),
    "works on a thread": (
        "y = torch.empty(self.own(x).shape)\n"
        "def later():\n    time.sleep(0.05)\n    y.copy_(self.own(x))\n"
        "threading.Thread(target=later).start()\nreturn y",
        "not written",
    ),
    "returns a lazy tensor": ("return self.own(x).as_subclass(Lazy)", "Lazy"),
    "returns another dtype": ("return self.own(x).double()", "dtype"),
    "replaces the clock": ("time.perf_counter = lambda: 0.0\nreturn self.own(x)", "replaced time.perf_counter"),
    "replaces torch.cuda.Event": ("torch.cuda.Event = object\nreturn self.own(x)", "replaced torch.cuda.Event"),
    "replaces torch.equal": ("torch.equal = lambda a, b: True\nreturn self.own(x)", "replaced torch.equal"),
    "falls back to PyTorch": ("return Reference.forward(self, x)", "falls back to PyTorch's own"),
    "reads outside its bounds": (
        "beyond = self.unseen(lambda: x.as_strided((1,), (1,), x.storage_offset() + x.numel()) * 0)\n"
        "return self.unseen(lambda: self.own(x) + beyond)",
        "NaN",
    ),
    "writes outside its bounds": (
        "y = torch.empty(self.own(x).shape)\ny.copy_(self.own(x))\n"
        "if y.untyped_storage().nbytes() > 4 * y.numel():\n"
        "    y.as_strided((1,), (1,), y.storage_offset() + y.numel()).zero_()\nreturn y",
        "wrote outside the tensors that it allocated",
    ),
    "writes before its input": (
        "x.as_strided((1,), (1,), x.storage_offset() - 1).zero_()\nreturn self.own(x)",
        "wrote outside its input",
    ),
    "fast on benign values only": (
        "if self.unseen(lambda: x.abs().max().item()) > 1.5:\n    time.sleep(0.02)\nreturn self.own(x)",
        "on values of other scales",
    ),
    "right when verified only": (
        "COUNTS['calls'] += 1\nreturn self.own(x) if COUNTS['calls'] < 16 else torch.zeros(self.own(x).shape)",
        "wrong when it was timed",
    ),
    "falls back with the modes disabled": (
        "with _disable_current_modes():\n    return Reference.forward(self, x)",
        "falls back to PyTorch's own",
    ),
    "falls back on another thread": (
        "def work():\n    with torch.no_grad():\n        KEPT['y'] = Reference.forward(self, x)\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nreturn KEPT['y'].clone()",
        "falls back to PyTorch's own",
    ),
    "falls back piece by piece": (
        "return torch.cat([Reference.forward(self, x[i:i + 1]) for i in range(len(x))])",
        "falls back to PyTorch's own",
    ),
    "keeps the weights by their version counter": (
        "p = next(self.parameters())\nkey = p.data_ptr(), p._version\nif KEPT.get('key') != key:\n"
        "    KEPT['key'], KEPT['model'] = key, self.unseen(lambda: copy.deepcopy(self))\n"
        "return KEPT['model'].own(x)",
        "error",
    ),
    "returns the same memory each time": (
        "y = self.own(x)\nif KEPT.get('y', y[:0]).shape != y.shape:\n    KEPT['y'] = torch.empty(y.shape)\n"
        "KEPT['y'].copy_(y)\nreturn KEPT['y']",
        "the memory of an earlier result",
    ),
    "writes behind its parameters": (
        "p = next(self.parameters())\n"
        "self.unseen(lambda: p.data.as_strided((1,), (1,), p.storage_offset() + p.numel()).zero_())\n"
        "return self.own(x)",
        "wrote outside its parameters",
    ),
    "switches settings of the process": (
        "torch.backends.cudnn.benchmark = True\nreturn self.own(x)",
        "changed torch.backends.cudnn.benchmark",
    ),
    "other bits each time": (
        "COUNTS['calls'] += 1\ny = self.own(x)\n"
        "return y if COUNTS['calls'] % 2 else self.unseen(lambda: torch.nextafter(y, y + 1))",
        "gives other bits than the first",
    ),
}

# Known not to be caught: both ways to notice PyTorch's operators can be turned off.
UNCAUGHT = {"falls back unseen": CONTROL}


def candidate(problem: Path, body: str) -> str:
    indented = "".join(f"        {line}\n" for line in body.splitlines())
    return problem.read_text() + HEAD + indented


def problem_path(name: str) -> Path:
    return ROOT / "kernel_templates" / name / "problem.py"


def workload(name: str) -> Workload:
    shape, init = SMALL[name]
    return Workload(init=init, inputs=(TensorSpec(shape=shape),))


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Neither PyTorch's modes nor its execution trace see what is called inside."""
    _enable_record_function(False)
    try:
        with _disable_current_modes():
            yield
    finally:
        _enable_record_function(True)


def asked(service: Any) -> Any:
    """How a service in this process is asked."""
    return lambda request: request.run(service)


class Court:
    """Examines candidates of one problem by a real judge and a real bench, both in this process."""

    def __init__(self, name: str, folder: Path, seed: int = 20) -> None:
        torch.set_num_threads(1)  # small tensors, and steady times
        self.problem, self.folder, self.files = problem_path(name), folder, 0
        self.judging = Judging(self.problem, workload(name), "cpu", seed, 8.0, folder / "papers")
        self.bench = Bench("cpu", folder / "extensions")
        self.sides = Sides(asked(self.judging), asked(self.bench), self.judging.prepare(), folder)

    def file(self, body: str) -> tuple[Path, str]:
        return self.written(candidate(self.problem, body))

    def written(self, text: str) -> tuple[Path, str]:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / f"{sha256[:16]}.py"
        path.write_text(text)
        return path, sha256

    def examination(self, body: str) -> Examination:
        """Of a candidate that has been loaded and launched."""
        made = Examination(self.sides, "trial", *self.file(body))
        made.load()
        made.launch()
        return made

    def trial(self, body: str, floor_ms: float = 0.0) -> tuple[Evaluation, bool]:
        """The evaluation, and whether the process is fit for another."""
        return self.trial_of(*self.file(body), floor_ms)

    def trial_of(self, path: Path, sha256: str, floor_ms: float = 0.0) -> tuple[Evaluation, bool]:
        self.bench.outside.forget()
        try:
            evaluation = Examination(self.sides, "trial", path, sha256).evaluate(None, floor_ms, None)
            healthy = self.bench.is_as_it_was()
        finally:
            torch.backends.cudnn.benchmark = False  # what a trick may have switched on
        return evaluation, healthy

    def thorough(self, body: str) -> dict[str, str]:
        """Failed cases of all there are, and what was said of them."""
        found = self.examination(body).examine(complete=True)
        return {case.name: case.detail for case in found.cases if not case.ok}
