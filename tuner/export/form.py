"""A form in which winners leave: its files, and the file by which the suite judges them as they will be used."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner.export.kernelbench import ExportError, losers
from tuner.records import Record, TensorSpec, Workload

PLACE = "@PLACE@"  # in a probe: the folder where the files lie while they are judged


@dataclass(frozen=True)
class Interface:
    """What goes in and out of the reference: inputs, parameters and buffers by name, results."""

    inputs: tuple[TensorSpec, ...]
    state: tuple[tuple[str, TensorSpec], ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Form:
    """`files` by their path in the output's folder; `probe` is Python that defines ModelNew by way of these files.

    `check` gets the folder and raises ExportError for what its ecosystem would refuse.
    """

    files: dict[str, str]
    probe: str
    check: Callable[[Path], None] = field(default=lambda folder: None)


def write_folder(
    output: Path, form: Form, records: Sequence[Record], verify: Callable[[Path], None], force: bool
) -> None:
    """Write a folder that is not there yet, once it is judged. Raises ExportError; see `_judged`."""
    if output.exists():
        raise ExportError(f"{output}: is there already; name a folder that is not")
    _parent(output)
    _refuse_losers(records, force)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as place:
        staged = Path(place, output.name)
        _judged(staged, form, verify)
        os.replace(staged, output)


def write_file(
    output: Path, suffixes: tuple[str, ...], form: Form, records: Sequence[Record], verify: Callable[[Path], None],
    force: bool,
) -> None:  # fmt: skip
    """Write the form's one file as `output`, once it is judged. Raises ExportError."""
    if output.suffix not in suffixes:
        raise ExportError(f"{output}: give it a name that ends in {' or '.join(suffixes)}")
    if output.is_dir():
        raise ExportError(f"{output}: is a folder")
    _parent(output)
    _refuse_losers(records, force)
    (name,) = form.files
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as place:
        staged = Path(place, "form")
        _judged(staged, form, verify)
        os.replace(staged / name, output)


def _judged(staged: Path, form: Form, verify: Callable[[Path], None]) -> None:
    """Write the files to `staged` and have them judged there, in their own form.

    The probe lies outside, and what using them leaves behind goes.
    """
    for name, text in form.files.items():
        path = staged / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    form.check(staged)
    probe = staged.with_name("probe.py")
    probe.write_text(form.probe.replace(PLACE, str(staged.resolve())), encoding="utf-8")
    verify(probe)
    for left in staged.rglob("__pycache__"):
        shutil.rmtree(left)


def _parent(output: Path) -> None:
    if not output.parent.is_dir():
        raise ExportError(f"{output}: no such folder: {output.parent}")


def _refuse_losers(records: Sequence[Record], force: bool) -> None:
    lost = [] if force else losers(records)
    if lost:
        raise ExportError(f"{lost[0]}; --force (from Python force=True) exports it all the same")


def identifier(name: str) -> str:
    """A name as Python and C have it."""
    made = re.sub(r"\W", "_", name)
    return made if made and not made[0].isdigit() else f"k_{made}"


def arguments(interface: Interface) -> tuple[list[str], list[str]]:
    """Names for the inputs, and for parameters and buffers, as arguments of a function; each once."""
    inputs = ["x"] if len(interface.inputs) == 1 else [f"x{i}" for i in range(len(interface.inputs))]
    state: list[str] = []
    for name, _ in interface.state:
        made = identifier(name)
        while made in (*inputs, *state):
            made += "_"
        state.append(made)
    return inputs, state


LOADED = '''\
import importlib.util
import os
import sys


def _file(name):
    """A module, or a package by its __init__.py."""
    path = os.path.join("@PLACE@", name)
    called = os.path.basename(os.path.dirname(path)) if name.endswith("__init__.py") else "exported_file"
    inside = [os.path.dirname(path)] if name.endswith("__init__.py") else None
    spec = importlib.util.spec_from_file_location(called, path, submodule_search_locations=inside)
    module = sys.modules[called] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


'''


def placed(workload: Workload, device: str) -> str:
    """What `.to(...)` of a model is given in a text: a device, in that text's words, and the dtype of a cast."""
    return device if workload.cast is None else f"{device}, torch.{workload.cast}"


def function(workload: Workload) -> str:
    """`_called`: a model whose parameters are those that it is called with, for forms that are functions."""
    return f"INIT = {workload.init!r}\n{_FUNCTION.replace('@PLACED@', placed(workload, 'device')).rstrip()}"


_FUNCTION = '''\
_KEPT = {}


def _called(inputs, state):
    """ModelNew on these inputs with these parameters and buffers, in the order of its state_dict."""
    device = inputs[0].device
    if device not in _KEPT:
        _KEPT[device] = ModelNew(*INIT).to(@PLACED@)
    model = _KEPT[device]
    with torch.no_grad():
        for own, given in zip(model.state_dict(keep_vars=True).values(), state):
            own.data = given
        return model(*inputs)
'''

# What a probe of such a form defines after `exported`, the module. The function is of one constructor call and mode:
# asked about another it would answer for the wrong model, so its probe refuses, as a host refuses inputs.
ONE_CALL = """\


class ModelNew(exported.ModelNew):
    def __init__(self, *init):
        super().__init__(*init)
        self._refused = "arguments" if json.dumps(init) != json.dumps(exported.INIT) else ""
        self._mode = self.training

    def forward(self, *inputs):
        if self._refused or self.training != self._mode:
            raise RuntimeError(f"a function is of one constructor call: other {self._refused or 'mode'} than its own")
        return @CALL@
"""
