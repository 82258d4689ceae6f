"""Drafts as folders: made in one step, kept while their problem is, never written over what a person edited."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from tuner.drafting.tracer import OpenTracer, TracedWorkload, TraceProblem
from tuner.drafting.write import Draft, draft
from tuner.errors import CacheError, ProblemError, TemplateError, named_as
from tuner.records import Floating
from tuner.template.shared import read
from tuner.workers.worker import Worker

SEAL = "draft.json"
TRACE_DEADLINE_S = 300.0


@dataclass(frozen=True)
class Drafted:
    """A draft's folder, and what was said of it when it was made."""

    folder: Path
    plan: tuple[str, ...]
    kernels: int
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class _Seal:
    """What the folder held when it was written: hashes of its files, of the problem and of the drafting itself."""

    problem: str
    drafting: str
    files: dict[str, str]
    plan: tuple[str, ...]
    kernels: int
    leaves: tuple[str, ...]


def drafted(
    problem: Path,
    root: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    dtype: Floating | None = None,
) -> Drafted:
    """The draft of a problem in `root`, made anew where the problem or the way of drafting is another than then.

    With `dtype` it is of the problem cast to that, a draft of its own. One that was edited since it was written is
    taken as it is. Raises ProblemError and TemplateError.
    """
    text = _problem_text(problem)
    folder = root / _name(problem, text, dtype)
    with _alone_in(root, folder.name, say):
        return _kept_or_made(problem, folder, environment, say, dtype)


@contextlib.contextmanager
def _alone_in(root: Path, name: str, say: Callable[[str], None]) -> Iterator[None]:
    """One process at a time looks at a draft; the system frees the lock of one that is killed."""
    root.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(root / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"waiting for another process that drafts {name}")
        try:
            lock.acquire(timeout=2 * TRACE_DEADLINE_S)
        except filelock.Timeout:
            raise CacheError(f"{root / name}: another process has held the draft for too long") from None
    try:
        yield
    finally:
        lock.release()


def _kept_or_made(
    problem: Path,
    folder: Path,
    environment: Mapping[str, str],
    say: Callable[[str], None],
    dtype: Floating | None,
) -> Drafted:
    seal = _seal(folder)
    if seal is not None:
        found = Drafted(folder, seal.plan, seal.kernels, seal.leaves)
        if _is_edited(folder, seal):
            say(f"{folder}: is taken as edited; remove it to have it drafted anew")
            return found
        if seal.drafting == fingerprint():
            return found
    elif (folder / "template.py").is_file():
        raise TemplateError(f"{folder}: holds a template without its {SEAL}; move it away, for a draft comes there")
    say(f"drafting {problem}" + (f" in {dtype}" if dtype else ""))
    return write(problem, folder, environment, dtype)


def write(problem: Path, folder: Path, environment: Mapping[str, str], dtype: Floating | None = None) -> Drafted:
    """Draft a problem, cast to `dtype` where one is given, into `folder`: all of it or nothing.

    A folder that is there is replaced.

    Raises ProblemError for what cannot be traced, TemplateError for what cannot be drafted.
    """
    text = _problem_text(problem)
    made = _made(problem, text, folder.name, environment, dtype)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as place:
        new = Path(place) / "new"
        new.mkdir()
        files = {"problem.py": text, **made.files, "plan.txt": "".join(f"{line}\n" for line in made.plan)}
        for name, content in files.items():
            (new / name).write_text(content, encoding="utf-8")
        hashes = {name: _hash(content) for name, content in files.items()}
        seal = _Seal(_hash(text), fingerprint(), hashes, made.plan, made.kernels, made.leaves)
        (new / SEAL).write_text(json.dumps(asdict(seal), indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, Path(place) / "old")
        os.replace(new, folder)
    return Drafted(folder, made.plan, made.kernels, made.leaves)


def _made(problem: Path, text: str, name: str, environment: Mapping[str, str], dtype: Floating | None) -> Draft:
    used = problem.absolute()
    with named_as(used, problem), Worker(OpenTracer(used), environment) as worker:
        workload = worker.call(TracedWorkload(), TRACE_DEADLINE_S).in_dtype(dtype)
        traced = worker.call(TraceProblem(workload), TRACE_DEADLINE_S)
    if traced.differing:
        raise TemplateError(f"{problem}: what was traced differs from the model at {'; '.join(traced.differing)}")
    try:
        return draft(name, traced, workload, text)
    except TemplateError as fault:
        raise TemplateError(f"{problem}: cannot be drafted: {fault}") from fault


def _problem_text(problem: Path) -> str:
    if not problem.is_file():
        raise ProblemError(f"{problem}: no such file")
    return read(problem)


def _name(problem: Path, text: str, dtype: Floating | None) -> str:
    """A template's name that says which problem it is of, and the dtype that this is cast to."""
    stem = re.sub(r"\W+", "_", problem.stem, flags=re.ASCII).strip("_").lower() or "problem"
    cast = f"{dtype}_" if dtype else ""
    return f"{stem if stem[0].isalpha() else f'p{stem}'}_{cast}{_hash(text)[:8]}"


def _seal(folder: Path) -> _Seal | None:
    """None where there is no draft, or its seal cannot be read."""
    try:
        values = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        return _Seal(**{**values, "plan": tuple(values["plan"]), "leaves": tuple(values["leaves"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_edited(folder: Path, seal: _Seal) -> bool:
    """Whether a file was changed, removed or added; hidden ones and what Python caches are nobody's."""
    there = {
        name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
        for name in [path.relative_to(folder)]
    }
    there.pop(SEAL, None)
    return there != seal.files


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def fingerprint() -> str:
    """Of this package: another one may draft otherwise."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()
