"""A Python package: ModelNew, whose forward is an operator of PyTorch, with its reference and a test."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.export.form import LOADED, Form, identifier
from tuner.export.submission import submission
from tuner.records import Record
from tuner.template import Template
from tuner.template.render import Candidate


def form(template: Template, records: Sequence[Record], candidate: Candidate, reference: str) -> Form:
    """The package of a template's winners. `reference` is the problem's text."""
    name = identifier(template.name)
    replaced = {r.point.variant: template.variant(r.point.variant).doc for r in records}
    return Form(
        files={
            "pyproject.toml": _PROJECT.format(name=name.replace("_", "-"), package=name),
            "README.md": submission(f"{name}/model_new.py", records, replaced),
            f"{name}/__init__.py": _INIT,
            f"{name}/model_new.py": candidate.text,
            "tests/reference.py": reference,
            "tests/test_model_new.py": test_file(name, records),
        },
        probe=f'{LOADED}exported = _file("{name}/__init__.py")\n{_NAMES}',
    )


def test_file(package: str, records: Sequence[Record]) -> str:
    """A test file beside `reference.py` that compares a package's ModelNew with the reference."""
    first = records[0]
    device = first.environment.device_kind
    cases = [
        (
            tuple((spec.shape, spec.dtype) for spec in record.workload.inputs),
            record.workload.init,
            record.workload.cast,
            _TOLERANCES.get(record.workload.dtype, 1e-4),
        )
        for record in records
    ]
    return _TEST.format(package=package, device=device, cases=cases)


_TOLERANCES = {"float16": 1e-2, "bfloat16": 1e-2}  # KernelBench's; 1e-4 for the others
_NAMES = "ModelNew, preload = exported.ModelNew, exported.preload\n"

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1"
description = "A tuned kernel in the place of a PyTorch module"
requires-python = ">=3.9"
dependencies = ["torch>=2.1", "ninja", "setuptools"]

[project.optional-dependencies]
test = ["pytest"]

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""

_INIT = '''\
"""A tuned kernel: `ModelNew` has the reference's constructor, parameters and result; `preload` compiles it ahead."""

from .model_new import ModelNew, preload

__all__ = ["ModelNew", "preload"]
'''

_TEST = '''\
"""ModelNew beside the reference, at the shapes that it was tuned for."""

import pytest
import torch
from reference import Model

from {package} import ModelNew

DEVICE = "{device}"
CASES = {cases!r}


@pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("inputs", "init", "cast", "tolerance"), CASES)
def test_agrees_with_the_reference(inputs, init, cast, tolerance):
    torch.manual_seed(0)
    dtype = getattr(torch, cast) if cast else None
    reference, model = (made(*init).to(DEVICE, dtype) for made in (Model, ModelNew))
    model.load_state_dict(reference.state_dict())
    xs = [torch.rand(shape, device=DEVICE).to(getattr(torch, dtype)) for shape, dtype in inputs]
    with torch.no_grad():
        torch.testing.assert_close(model(*xs), reference(*xs), rtol=tolerance, atol=tolerance)
'''
