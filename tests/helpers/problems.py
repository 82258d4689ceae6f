"""Small problems of a line or two, as files."""

from __future__ import annotations

from pathlib import Path

import torch

from tuner import problem
from tuner.verification.reference import Reference
from tuner.verification.suite import Suite

TEXT = """\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {layer}

    def forward(self, {arguments}):
        {forward}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""


def write_problem(
    folder: Path, forward: str, inputs: str = "torch.rand(16, 8)", layer: str = "", arguments: str = "x"
) -> problem.Problem:
    """A problem whose forward is the given lines; `layer` is what `self.layer` is made by."""
    path = folder / "problem.py"
    made = f"self.layer = {layer}" if layer else "pass"
    path.write_text(
        TEXT.format(layer=made, arguments=arguments, forward=forward.replace("\n", "\n        "), inputs=inputs)
    )
    return problem.load(path)


def make_reference(folder: Path, forward: str, **parts: str) -> Reference:
    torch.set_num_threads(1)
    loaded = write_problem(folder, forward, **parts)
    return Reference(loaded, problem.default_workload(loaded), "cpu", 3, 8.0)


def make_suite(folder: Path, forward: str, **parts: str) -> Suite:
    torch.set_num_threads(1)
    loaded = write_problem(folder, forward, **parts)
    return Suite(loaded, problem.default_workload(loaded), "cpu", 3)
