"""FlashInfer-Bench: a Definition and a Solution in JSON, laid out as a trace set.

An axis is constant where all winners agree on it, and variable otherwise; parameters are inputs after the inputs.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuner.export.form import ONE_CALL, Form, Interface, arguments, function, identifier, placed
from tuner.export.kernelbench import ExportError
from tuner.records import Record, TensorSpec
from tuner.template import Template
from tuner.template.render import Candidate

DTYPES = {"float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "bool"}


def form(
    template: Template, records: Sequence[Record], candidate: Candidate, interface: Interface, reference: str
) -> Form:
    """Raises ExportError for a dtype that the format has not, and for winners of several shapes."""
    if len(records) != 1:
        raise ExportError("flashinfer: a definition is of one workload; give the config one shape")
    record = records[0]
    name = identifier(f"{template.name}_{record.workload.slug}")
    definition = _definition(name, template, record, interface, reference)
    device = record.environment.device_name
    inputs, state = arguments(interface)
    source = "\n\n".join(
        [
            candidate.text.rstrip("\n"),
            function(record.workload),
            f"def tuned({', '.join([*inputs, *state])}):\n"
            f"    return _called([{', '.join(inputs)}], [{', '.join(state)}])\n",
        ]
    )
    solution = {
        "name": f"{name}_tuner",
        "definition": name,
        "author": "tuner",
        "spec": {
            "language": "python",
            "target_hardware": [device if record.environment.device_kind == "cuda" else "cpu"],
            "entry_point": "main.py::tuned",
            "dependencies": [],
            "destination_passing_style": False,
        },
        "sources": [{"path": "main.py", "content": source}],
        "description": f"{record.point}, tuned on {device}: {record.latency_ms:.4g} ms",
    }
    files = {
        f"definitions/tuner/{name}.json": _text(definition),
        f"solutions/tuner/{name}/{name}_tuner.json": _text(solution),
    }
    probe = _PROBE.replace("@SOLUTION@", list(files)[1]) + ONE_CALL.replace("@CALL@", _CALL)
    return Form(files=files, probe=probe, check=check)


def check(folder: Path) -> None:
    """Have flashinfer-bench's own models read the files, where it is installed. Raises ExportError."""
    if importlib.util.find_spec("flashinfer_bench") is None:
        return
    data = importlib.import_module("flashinfer_bench.data")
    for kind, model in (("definitions", data.Definition), ("solutions", data.Solution)):
        for path in folder.glob(f"{kind}/**/*.json"):
            try:
                model.model_validate_json(path.read_bytes())
            except ValueError as error:
                raise ExportError(f"{path.name}: flashinfer-bench refuses it: {' '.join(str(error).split())}") from None


def _definition(name: str, template: Template, record: Record, interface: Interface, reference: str) -> dict[str, Any]:
    inputs, state = arguments(interface)
    axes: dict[str, Any] = {}

    def tensor(name: str, spec: TensorSpec) -> dict[str, Any]:
        if spec.dtype not in DTYPES:
            raise ExportError(f"flashinfer: the format has no {spec.dtype}, of which {name} is")
        names = [f"{name}_d{i}" for i in range(len(spec.shape))]
        axes.update({axis: {"type": "const", "value": size} for axis, size in zip(names, spec.shape, strict=True)})
        return {"shape": names or None, "dtype": spec.dtype}

    given = dict(zip(inputs, interface.inputs, strict=True))
    kept = dict(zip(state, (spec for _, spec in interface.state), strict=True))
    results = ["output"] if len(interface.outputs) == 1 else [f"output{i}" for i in range(len(interface.outputs))]
    names = [name for name, _ in interface.state]
    return {
        "name": name,
        "op_type": identifier(template.name),
        "axes": axes,  # filled by what follows
        "inputs": {name: tensor(name, spec) for name, spec in (given | kept).items()},
        "outputs": {name: tensor(name, spec) for name, spec in zip(results, interface.outputs, strict=True)},
        "reference": reference.rstrip("\n") + _REFERENCE.format(
            inputs=", ".join(inputs), all=", ".join([*inputs, *state]), init=record.workload.init,
            placed=placed(record.workload, f"{inputs[0]}.device"),
            state="{" + ", ".join(f"{n!r}: {a}" for n, a in zip(names, state, strict=True)) + "}",
        ),
        "tags": [f"precision:{record.workload.precision}"],
        "description": f"The problem of tuner's template {template.name}.",
    }  # fmt: skip


def _text(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


_REFERENCE = """


def run({all}):
    with torch.no_grad():
        model = Model(*{init!r}).to({placed})
        return torch.func.functional_call(model, {state}, ({inputs},))
"""

_PROBE = """\
import json
import os
import types

with open(os.path.join("@PLACE@", "@SOLUTION@")) as file:
    solution = json.load(file)
exported = types.ModuleType("exported")
exec(compile(solution["sources"][0]["content"], "main.py", "exec"), exported.__dict__)
preload = exported.preload
"""

_CALL = "exported.tuned(*inputs, *self.state_dict(keep_vars=True).values())"
