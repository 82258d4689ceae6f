"""What has to be the same on both sides of a cluster: Python, tuner and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def asking() -> Callable[[], dict[str, str]]:
    """A function that says which versions are where it runs. It is sent by value, for tuner may not be there."""

    def versions() -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import pathlib
        import sys

        found = {"Python": f"{sys.version_info[0]}.{sys.version_info[1]}"}
        for name in ("tuner", "torch"):
            try:
                found[name] = importlib.metadata.version(name).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                found[name] = ""
        spec = importlib.util.find_spec("tuner")
        digest = hashlib.sha256()
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in sorted(pathlib.Path(place).rglob("*.py")):
                digest.update(path.relative_to(place).as_posix().encode() + path.read_bytes())
        found["tuner's source"] = digest.hexdigest()[:12]
        return found

    return versions


def difference(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    """In words, "" where both are alike."""
    for name, wanted in here.items():
        found = there.get(name, "")
        if found != wanted:
            return f"it has {name} {found}, here is {wanted}" if found else f"it has no {name}, here is {wanted}"
    return ""
