"""Whatever is put in: no traceback, no file where none belongs, and an exit code of 0, 1, 2 or 130."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.injected import inside
from helpers.project import without_pulse
from helpers.tiny import TINY, Put
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner import store, template
from tuner.cli.main import main
from tuner.errors import ConfigError, TemplateError, TunerError
from tuner.records import Record
from tuner.search.ledger import Ledger
from tuner.settings import Settings, load

JsonPath = tuple[Any, ...]  # of keys and positions, to a place in JSON

BOUNDED = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip

WORDS = st.sampled_from(
    ["", "a", "gn_mean", "..", "../..", "a/b", "/", "cpu", "cuda:0", "-1", "~", "é", "\n", "{}", "x" * 300]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 9), st.floats(), WORDS, st.text(max_size=8)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*")
        if path.is_file() and path.name != ".lock" and "__pycache__" not in path.parts
    }  # fmt: skip


def run(root: Path, *arguments: str) -> int:
    """A command in `root`: what it says is a line when it refuses, and never a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with (
        inside(root),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as done,
    ):
        main(list(arguments))
    code = done.value.code
    assert code in (0, 1, 2, 130)
    assert "Traceback" not in out.getvalue() + err.getvalue()
    if code == 2:  # a line for each config that is wrong
        assert all(line.startswith("tuner: ") for line in without_pulse(err.getvalue()).splitlines())
    return code


# ---- configs ---------------------------------------------------------------------------------------

KEYS = st.sampled_from([*Settings.model_fields, "trails", ""])
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4).map(lambda found: {"template": "gn_mean", **found})


@BOUNDED
@given(text=st.one_of(MAPPINGS.map(yaml.safe_dump), MAPPINGS.map(json.dumps), st.text(max_size=60)))
def test_configs(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fuzzed.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    before = tree(tmp_path)
    with contextlib.suppress(ConfigError):
        assert isinstance(load(path), Settings)
    assert run(tmp_path, "validate", "fuzzed.yaml") in (0, 2)
    assert tree(tmp_path) == before


@BOUNDED
@given(raw=st.binary(max_size=60))
def test_configs_of_bytes(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "fuzzed.yaml").write_bytes(raw)
    assert run(tmp_path, "search", "fuzzed.yaml") == 2
    assert set(tree(tmp_path)) == {"fuzzed.yaml"}


@BOUNDED
@given(key=st.sampled_from(list(Settings.model_fields)), text=st.one_of(WORDS, st.text(max_size=20)))
def test_options(tmp_path: Path, key: str, text: str) -> None:
    path = tmp_path / "fuzzed.yaml"
    path.write_text("template: gn_mean\n")
    with contextlib.suppress(ConfigError):
        load(path, {key: text})


# ---- templates -------------------------------------------------------------------------------------

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), WORDS, st.floats(allow_nan=False), st.just(2**70))
TUPLES = st.lists(PLAIN, max_size=3).map(tuple)
NAMES = st.one_of(st.sampled_from(["unroll", "threads", "order"]), PLAIN)
CHOICES = st.one_of(
    st.lists(st.integers(0, 5), max_size=4).map(tuple), st.just((1, 2, 4)), st.just((False, True)), TUPLES, PLAIN
)
KNOBS = st.tuples(NAMES, CHOICES, st.one_of(st.sampled_from([1, 2, False]), PLAIN)).map(
    lambda parts: "Knob({!r}, {!r}, {!r})".format(*parts)
)
RULES = st.sampled_from(
    ["k.unroll <= f.C", "k.no_such", "f.no_such > 1", "1 / 0", "None", "k", "undefined", "f.N / (k.unroll - 1) > 0"]
)
CONSTRAINTS = st.tuples(st.one_of(WORDS, PLAIN), RULES).map(lambda c: f"Constraint({c[0]!r}, lambda k, f: {c[1]})")
AXES = st.sampled_from(
    ["{'N': 4, 'C': 8}", "{}", "None", "1 / 0", "shapes[9]", "{1: 2}", "init.no_such", "f", "{'cores': 'x'}"]
)


def listed(items: list[str]) -> str:
    return "(" + "".join(f"{item}, " for item in items) + ")"


@st.composite
def specs(draw: st.DrawFn) -> str:
    fields = {
        "name": repr(draw(st.one_of(st.just("plain"), PLAIN))),
        "device": repr(draw(st.one_of(st.just("cpu"), PLAIN))),
        "source": repr(draw(st.one_of(st.just("plain.cpp"), PLAIN))),
        "knobs": draw(st.one_of(st.lists(KNOBS, max_size=3).map(listed), PLAIN.map(repr))),
        "constraints": draw(st.one_of(st.lists(CONSTRAINTS, max_size=2).map(listed), PLAIN.map(repr))),
        "minimum": repr(draw(st.one_of(st.just((0, 0)), TUPLES, PLAIN))),
    }
    for name in draw(st.sets(st.sampled_from(sorted(fields)), max_size=5)):  # the others take sound values
        fields.pop(name)
    sound = {"name": "'plain'", "device": "'cpu'", "source": "'plain.cpp'", "knobs": "(Knob('unroll', (1, 2), 2),)"}
    arguments = ", ".join(f"{key}={value}" for key, value in {**sound, **fields}.items())
    end = draw(
        st.sampled_from(["", "", "", "raise SystemExit", "VARIANTS = 7", "del VARIANTS", "(", "\\0", "import no"])
    )
    return (
        "from tuner.space import Constraint, Knob\nfrom tuner.template import Variant\n\n\n"
        f"def axes(init, shapes):\n    return {draw(AXES)}\n\n\nVARIANTS = (Variant({arguments}),)\n{end}\n"
    )


@BOUNDED
@given(text=specs())
def test_templates(tiny_folder: Path, text: str) -> None:
    (tiny_folder / "template.py").write_text(text)
    before = set(tree(tiny_folder))
    with contextlib.suppress(TemplateError, ConfigError):
        made = template.load(tiny_folder)
        limits = {"device": "cpu", "cores": 2, "capability": (0, 0), "shared_memory_per_block": 0}
        space = made.space("cpu", made.facts([8], [(4, 8)], limits))
        assert all(space.rejected_by(config) is None for config in space.points())
    assert set(tree(tiny_folder)) == before


@BOUNDED
@given(raw=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda t: t.encode(errors="replace"))))
def test_templates_of_bytes(tiny_folder: Path, raw: bytes) -> None:
    (tiny_folder / "template.py").write_bytes(raw)
    with pytest.raises(TemplateError):
        template.load(tiny_folder)


# ---- records ---------------------------------------------------------------------------------------


def places(value: object, path: JsonPath = ()) -> list[JsonPath]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in inside for place in places(inner, (*path, key)))]


def mutated(whole: dict[str, Any], path: JsonPath, value: object, remove: bool) -> object:
    if not path:
        return value
    found = copy.deepcopy(whole)
    holder: Any = found
    for key in path[:-1]:
        holder = holder[key]
    if remove:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return found


@BOUNDED
@given(data=st.data())
def test_records(tmp_path: Path, put: Put, tiny: template.Template, data: st.DataObject) -> None:
    """A changed record is refused, or is one whose text is still the very one that it names and renders."""
    root, sound = tmp_path / "cache", tmp_path / "sound"
    if not sound.exists():  # stored once: a copy is not synced to the disk, as an entry is
        put(sound)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(sound, root)
    (folder,) = {path.parent for path in root.glob("[!.]*/*/*/record.json")}
    text, raw = (folder / "model_new.py").read_text(), (folder / "record.json").read_bytes()
    whole = json.loads(raw)
    if data.draw(st.booleans(), "as JSON"):
        path = data.draw(st.sampled_from(places(whole)), "place")
        changed = mutated(whole, path, data.draw(VALUES, "value"), data.draw(st.booleans(), "remove"))
        new = json.dumps(changed).encode()
    else:
        at = data.draw(st.integers(0, len(raw) - 1), "byte")
        new = raw[:at] + data.draw(st.binary(max_size=3), "bytes") + raw[at + data.draw(st.integers(0, 40), "cut") :]
    (folder / "record.json").write_bytes(new)
    outside = {name for name in tree(tmp_path) if not name.startswith("cache/")}
    entries, faults = store.scan(root)
    assert len(entries) + len(faults) == 1
    with contextlib.suppress(TunerError):
        entry = store.get(root, *folder.relative_to(root).parts)
        assert entry is not None and isinstance(entry.record, Record)
        assert store.load_checked(entry, tiny) == text
    assert {name for name in tree(tmp_path) if not name.startswith("cache/")} == outside


LINE = {
    "number": 1, "point": {"variant": "plain", "knobs": {"unroll": 2}}, "candidate_sha256": "0",
    "evaluation": {"status": "compile", "detail": ""}, "finished": "",
}  # fmt: skip


@BOUNDED
@given(path=st.sampled_from(places(LINE)), value=VALUES, remove=st.booleans(), junk=st.binary(max_size=20))
def test_ledgers(tmp_path: Path, path: JsonPath, value: object, remove: bool, junk: bytes) -> None:
    ledger = Ledger(tmp_path / "fuzzed.jsonl")
    changed = json.dumps(mutated(LINE, path, value, remove)).encode()
    ledger.path.write_bytes(b"\n".join([json.dumps(LINE).encode(), changed, junk, json.dumps(LINE).encode()]) + b"\n")
    assert len(ledger.read()) in (2, 3)


# ---- command lines -----------------------------------------------------------------------------------

ARGUMENTS = st.one_of(
    st.sampled_from([
        "search", "validate", "export", "verify", "templates", "cache", "ls", "why", "rm", "no", "--json", "-o",
        "-h", "--help", "--version", "--device", "--trials", "--force", "--fresh", "--problem", "--shape",
        "--init", "--cache", "--precision", "--error-budget", "out.py", "bad.yaml", "unknown.yaml",
        "missing.yaml", "missing.py", "elsewhere", "gn_mean", "1", "nan", "4x8", "[8]", "-", "--", "cuda:99",
        "=", "--json=1", ".", "..", "/", "tf32",
    ]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(["x" * 300, "y/" * 3000, "\udcff"]),  # a byte that is no UTF-8, as Python hands it on
)  # fmt: skip


@BOUNDED
@given(arguments=st.lists(ARGUMENTS, max_size=6))
def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Nothing here can reach a search: every config in the folder is wrong."""
    for name, text in (
        ("bad.yaml", "template: ["),
        ("unknown.yaml", "template: no_such\n"),
        ("file", TINY["plain.py"]),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("TUNER_CACHE_DIR", str(tmp_path / "cache"))
    before = tree(tmp_path)
    run(tmp_path, *arguments)
    assert {name: raw for name, raw in tree(tmp_path).items() if not name.startswith("cache/")} == before
