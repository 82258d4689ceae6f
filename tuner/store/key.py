"""What an entry is for. A miss names the fields of the key that differ."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from tuner.records import Environment, Record, Workload
from tuner.template import Template, render

# Fields that may be waived where a kernel, not a measurement, is wanted.
SOFTWARE = ("driver", "toolkit", "torch")


@dataclass(frozen=True)
class Key:
    """Everything that decides whether an entry applies, one field a cause of a miss."""

    template: str
    init: str
    shapes: str
    dtype: str
    precision: str
    device_name: str
    capability: str
    cores: str
    driver: str
    toolkit: str
    torch: str
    template_digest: str

    @classmethod
    def of(cls, template: str, workload: Workload, environment: Environment, digest: str) -> Key:
        """The key that an entry must have to apply to this workload here; `digest` is its variant's."""
        return cls(
            template=template,
            init=json.dumps(workload.model_dump(mode="json")["init"]),
            shapes=", ".join("x".join(map(str, shape)) for shape in workload.shapes),
            dtype=workload.dtype_names + (f", model {workload.cast}" if workload.cast else ""),
            precision=workload.precision,
            device_name=environment.device_name,
            capability=".".join(map(str, environment.capability)),
            cores=str(environment.cores),
            driver=environment.driver,
            toolkit=environment.toolkit,
            torch=environment.torch.split("+")[0],  # the build ("+cu130") follows from device and toolkit
            template_digest=digest,
        )


def differences(cached: Key, here: Key) -> list[str]:
    """Names of the fields that differ."""
    return [field.name for field in fields(Key) if getattr(cached, field.name) != getattr(here, field.name)]


def explain(cached: Key, here: Key, names: Sequence[str]) -> str:
    """These fields of two keys, side by side."""
    return "; ".join(f"{n}: cached {short(getattr(cached, n))}, here {short(getattr(here, n))}" for n in names)


def short(value: str) -> str:
    """A hash by its first digits, anything else whole."""
    return value[:12] if re.fullmatch(r"[0-9a-f]{64}", value) else value


def record_key(record: Record) -> Key:
    """The key of a winner as it was measured."""
    return Key.of(record.template, record.workload, record.environment, record.template_digest)


def tuned(record: Record) -> render.Tuned:
    """What `render.candidate` gets for a record; its text is the record's `model_new.py`."""
    return render.tuned_for(record.point, record.workload, record.environment)


class Digests:
    """The present digests of a template's variants, each rendered at most once: for one lookup, not for longer."""

    def __init__(self, template: Template) -> None:
        self.template = template
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}

    def of(self, record: Record) -> str:
        """The digest of a record's variant now; words that no digest equals when the template has none of its name."""
        name, dtypes = record.point.variant, record.workload.each_dtype
        if (name, dtypes) not in self._known:
            found = next((v for v in self.template.variants if v.name == name), None)
            self._known[name, dtypes] = render.digest(self.template, found, dtypes) if found else "no such variant"
        return self._known[name, dtypes]
