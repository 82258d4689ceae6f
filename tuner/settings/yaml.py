"""YAML as configs take it: one small document of plain values, and none of YAML's surprises."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 16


class Loader(yaml.SafeLoader):
    """YAML 1.2's plain values, and none of YAML's surprises.

    Only true and false are booleans (`no` is a word), 1e-3 is a number, 010 and 1:30 are not.
    Tags, aliases, duplicate keys and deep nesting are refused.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases are not taken here", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tags are not taken here: {event.tag}", event.start_mark)
        if self.depth == MAX_DEPTH:
            raise _refused("nested too deeply", event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise _refused("a key is a plain word", key.start_mark)
            if key.value in seen:
                raise _refused(f"key {key.value!r} is there twice; keep one", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=True)

    def construct_decimal(self, node: Any) -> int:
        return int(node.value)


def _refused(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9]{0,17})", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.inf|\.nan", "-+."),
    ("null", r"~|null|", ["~", "n", ""]),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_decimal)


def read(path: Path) -> Any:
    """The file's YAML value. Raises ConfigError for whatever is not one small UTF-8 YAML document."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: is not a file; name a YAML config")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes; a config is a page of YAML")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
    value = parse(text, str(path))
    if value is None:
        raise ConfigError(f"{path}: is empty; it wants at least `template: NAME`")
    return value


def parse(text: str, place: str) -> Any:
    """The value of one YAML document. Raises ConfigError, one line that begins with `place`."""
    try:
        return yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise ConfigError(f"{place}: {line}{error.problem or 'is not YAML'}") from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "malformed")
        raise ConfigError(f"{place}: is not YAML: {reason}") from None
