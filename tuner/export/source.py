"""The source alone, for C++: includes inlined, knobs as defines in front, each launcher `extern "C"`."""

from __future__ import annotations

from collections.abc import Sequence

from tuner.export.form import Form
from tuner.export.kernelbench import ExportError
from tuner.records import Record
from tuner.template import Template, render
from tuner.template.render import Candidate
from tuner.template.signatures import signatures


def form(template: Template, records: Sequence[Record], candidate: Candidate) -> Form:
    """One winner's source, with a comment that says how it is called. Raises ExportError for several winners."""
    if len(records) != 1:
        raise ExportError("source: holds one winner; give the config one shape")
    record = records[0]
    variant = template.variant(record.point.variant)
    text = render.kernel_source(template, variant, record.point, record.workload.dtype)
    if text not in candidate.text:
        raise ExportError(f"template {template.name}: its source is not what the winner was built of")
    shapes = ", ".join("x".join(map(str, shape)) for shape in record.workload.shapes)
    told = [f"//   {each.returns} {each.name}{str(each)[len(each.returns) :]}" for each in signatures(text).values()]
    head = [
        f"// {template.name}, variant {variant.name}, tuned for {shapes} {record.workload.dtype_names} on "
        f"{record.environment.device_name}: {record.latency_ms:.4g} ms.",
        "// Its launchers return 0, or an error code that tuner_error(code) explains; tensors are contiguous:",
        *told,
        "",
    ]
    whole = "\n".join(head) + text
    # The candidate, its kernel built of the file as it was written.
    before, _, after = candidate.text.partition(text)
    name = f"{template.name}.{'cu' if variant.device == 'cuda' else 'cpp'}"
    opening = "source=r'''\n"
    if not before.endswith(opening) or not after.startswith("'''"):
        raise ExportError(f"template {template.name}: its source cannot be told from the rest of the winner's file")
    probe = f"{before[: -len(opening)]}source=open({f'@PLACE@/{name}'!r}).read(){after[3:]}"
    return Form(files={name: whole}, probe=probe)


SUFFIXES = {"cuda": (".cu",), "cpu": (".cpp", ".cc")}
