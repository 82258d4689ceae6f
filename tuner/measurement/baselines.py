"""The reference as PyTorch runs it: what a candidate's time is compared with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner import backends, problem
from tuner.measurement.timer import Timer
from tuner.records import Workload
from tuner.workers.protocol import Report


class Baseline:
    """The reference run one way, in a process of its own so that no flag reaches another measurement."""

    WAYS = ("eager", "eager_benchmark", "compile", "compile_benchmark", "max_autotune")

    def __init__(
        self,
        path: Path,
        workload: Workload,
        torch_device: str,
        seed: int,
        way: str,
        report: Report = lambda phase: None,
    ) -> None:
        backend = backends.of(torch_device)
        backend.select()
        torch_device = backend.torch_device
        self.report = report
        loaded = problem.load(path)
        model: Any = problem.reference(loaded, workload, seed).to(torch_device)
        # Compile in this process: a pool of Inductor's would outlive it by its semaphores.
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        torch.backends.cudnn.benchmark = way.endswith("_benchmark")
        if way.startswith("compile"):
            model = torch.compile(model)
        elif way == "max_autotune":
            model = torch.compile(model, mode="max-autotune")
        self.model: Callable[..., torch.Tensor] = model
        self.timer = Timer(problem.inputs(loaded, workload, seed, torch_device, torch_device), seed)

    def warm(self) -> None:
        """Compile, choose algorithms and reach a steady state."""
        self.report("warm-up")
        self.timer.samples_ms(self.model, 3)

    def sample(self, count: int) -> list[float]:
        """`count` timings in ms, after one that is dropped."""
        return self.timer.samples_ms(self.model, count + 1)[1:]
