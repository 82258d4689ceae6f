"""Export: the winners of a config as one standalone file, with the text that goes with it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tuner import store
from tuner.errors import TunerError
from tuner.export.submission import submission
from tuner.records import Record
from tuner.template import Template, render
from tuner.template.render import Candidate

# What KernelBench's static checker refuses once everything behind # and // is cut off.
_REFUSED = {
    r"\btry\s*:": "a try block",
    r"\bexcept\b": "an except clause",
    r"\bpass\b": "the word `pass` outside # and // comments",
    r"\bthreading\b|\bmultiprocessing\b|\bconcurrent\.futures\b|PoolExecutor": "threads or processes",
    r"_make_subclass|class\s+\w+.*\((?:torch\.)?Tensor\)|Tensor\.__new__": "a tensor subclass",
    r"(?:cuda\.Event(?:\.\w+)?|cuda\.synchronize|time\.(?:perf_counter|time))\s*=": "an assignment to a timer",
}


class ExportError(TunerError):
    """What was asked for cannot be exported."""


def compose(template: Template, records: Sequence[Record], reference: Path | None = None) -> Candidate:
    """One file with all these winners; with a single one, the very bytes that the cache holds.

    `reference` is a problem file whose Model computes the gradients: such a file trains, and is none for KernelBench.

    Raises ExportError for records that cannot stand in one file.
    """
    for name, values in (
        ("template", {record.template for record in records}),
        ("device", {record.environment.device_name for record in records}),
        ("precision", {record.workload.precision for record in records}),
        ("init", {str(record.workload.model_dump(mode="json")["init"]) for record in records}),
    ):
        if len(values) != 1:
            found = ", ".join(sorted(values)) or "no winner"
            raise ExportError(f"one file takes winners of one {name}; these have {found}")
    candidate = render.candidate(template, [store.tuned(record) for record in records], reference=reference)
    faults = static_faults(candidate.text) if reference is None else []
    if faults:
        raise ExportError(f"template {template.name}: KernelBench's static checker refuses {faults[0]}")
    return candidate


def losers(records: Sequence[Record]) -> list[str]:
    """One line for each record that is not shown to be faster than eager: its interval must lie above 1."""
    lines = []
    for record in records:
        shapes = ", ".join("x".join(map(str, shape)) for shape in record.workload.shapes)
        eager = next((b for b in record.baselines if b.name == "eager"), None)
        if eager is None:
            lines.append(f"{shapes}: was not measured against eager")
        elif eager.speedup_low <= 1:
            interval = f"[{eager.speedup_low:.3f}, {eager.speedup_high:.3f}]"
            lines.append(f"{shapes}: its speed-up over eager, {eager.speedup:.3f} {interval}, does not lie above 1")
    return lines


def write(
    output: Path,
    template: Template,
    records: Sequence[Record],
    verify: Callable[[Path], None],
    force: bool = False,
    reference: Path | None = None,
) -> Path:
    """Write `output` and, beside it, its `.md`; returns the latter's path.

    `verify` gets the file under a temporary name and raises when it does not hold; nothing
    is at `output` before that. Refuses a loser unless `force`. `reference` as for `compose`. Raises ExportError.
    """
    if output.suffix != ".py":
        raise ExportError(f"{output}: the exported file is Python; give it a name that ends in .py")
    if output.is_dir() or not output.parent.is_dir():
        raise ExportError(f"{output}: {'is a folder' if output.is_dir() else f'no such folder: {output.parent}'}")
    lost = [] if force else losers(records)
    if lost:
        raise ExportError(f"{lost[0]}; --force (from Python force=True) exports it all the same")
    candidate = compose(template, records, reference)
    replaced = {r.point.variant: template.variant(r.point.variant).doc for r in records}
    described = output.with_suffix(".md")
    try:
        # Beside the output, so that the renames stay on one file system; its own folder, so that
        # the file keeps its name while it is verified.
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}.") as folder:
            code, text = Path(folder, output.name), Path(folder, described.name)
            _write(code, candidate.text)
            _write(text, submission(output.name, records, replaced))
            verify(code)
            os.replace(text, described)
            os.replace(code, output)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written: {error.strerror or error}") from error
    return described


def static_faults(text: str) -> list[str]:
    """What KernelBench's static checker would refuse in `text`."""
    code = "\n".join(re.split(r"#|//", line, maxsplit=1)[0] for line in text.split("\n"))
    return [what for pattern, what in _REFUSED.items() if re.search(pattern, code)]


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
