"""Tuned kernels by name: `from tuner.kernels import gn_mean` is the winner's `ModelNew` for this device.

Looked up in the cache of the project around the working folder ($TUNER_CACHE_DIR overrides),
then among the winners that came with tuner; all that apply go into one class that dispatches
on the input's shape. Nothing is compiled until the first call, or until `preload`.

An entry applies when it was measured on this device with this driver, toolkit and PyTorch, from
the template as it is now, by a search that was not interrupted. `accept="same_device"` (or
TUNER_ACCEPT=same_device) waives driver, toolkit and PyTorch: the kernels stay right, their speed
is then not what the record says.

Importing this module loads neither torch nor anything heavy.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from tuner.errors import CacheError, ConfigError

if TYPE_CHECKING:
    from tuner.records import Environment, Precision, Record
    from tuner.store import Digests, Entry
    from tuner.template import Template


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"tuner.kernels has no attribute {name!r}")
    known = _known()
    if name not in known:
        text = (
            f"tuner.kernels has no kernel {name!r}; there are {', '.join(known)}; "
            f'load("./path/to/{name}") takes a template folder anywhere'
        )
        caller = sys._getframe(1)
        if caller.f_code.co_code[caller.f_lasti] == dis.opmap["IMPORT_FROM"]:  # which keeps no AttributeError's words
            raise ImportError(text)
        raise AttributeError(text)
    return load(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_known()])


def _known() -> list[str]:
    """Names of the project's own templates and of the shipped ones."""
    from tuner import settings

    return sorted(settings.template_folders(settings.working_folder()))


def load(
    name: str,
    device: str = "auto",
    precision: Precision = "match",
    init: Sequence[Any] | None = None,
    accept: str | None = None,
    backward: str | None = None,
) -> Any:
    """The class `ModelNew` with all winners of a template for a device.

    `name` is a template of the project or a shipped one, or the path of a template folder (with a /); `init` keeps
    only winners tuned for these constructor arguments. With `backward="reference"` the model can train: its gradients
    are those of the template's problem, whose forward is computed once more for them. Raises CacheError on a miss.
    """
    return _module(name, device, precision, init, accept, backward).ModelNew


def preload(
    name: str,
    device: str = "auto",
    precision: Precision = "match",
    init: Sequence[Any] | None = None,
    accept: str | None = None,
    backward: str | None = None,
) -> Any:
    """`load`, with every kernel compiled and loaded now."""
    module = _module(name, device, precision, init, accept, backward)
    module.preload()
    return module.ModelNew


def require_backward(backward: str | None) -> None:
    """Raise ConfigError for what `backward` cannot be."""
    if backward not in (None, "reference"):
        raise ConfigError(f"backward: {backward!r} is not 'reference' (its gradients), or None (none)")


def _module(
    name: str,
    device: str,
    precision: Precision,
    init: Sequence[Any] | None,
    accept: str | None,
    backward: str | None,
) -> ModuleType:
    from tuner import backends, settings, store
    from tuner.backends import toolchain
    from tuner.records import Precision
    from tuner.template import folder, render

    require_backward(backward)
    accept = accept or os.environ.get("TUNER_ACCEPT") or "exact"
    if accept not in ("exact", "same_device"):
        raise ConfigError(f"accept (TUNER_ACCEPT): {accept!r} is not exact or same_device")
    if precision not in get_args(Precision):
        raise ConfigError(f"precision: {precision!r} is not one of {', '.join(get_args(Precision))}")
    template = folder.load(settings.folder_of(name, settings.working_folder()))
    digests = store.Digests(template)
    here = backends.of(backends.resolve(device)).environment()
    given = (name, str(template.folder))  # outside a project what was searched by its path has a cache of its own
    places = [*(settings.cache_root(settings.working_folder(), each) for each in given), store.shipped_cache()]
    roots = list({root.resolve(): root for root in places}.values())

    winners: dict[str, Entry] = {}  # by workload; the project's own go before the shipped ones
    misses: list[str] = []
    for root in roots:
        for entry in store.winners(root, here.slug, template.name):
            miss = _miss(entry, digests, here, precision, init, accept)
            if miss is None:
                store.load_checked(entry, template, digests)
                winners.setdefault(entry.record.workload.slug, entry)
            else:
                misses.append(f"{entry.folder}: {miss}")
    if not winners:
        others = [
            f"{entry.folder}: {_miss(entry, digests, here, precision, init, accept)}"
            for root in roots
            for entry in store.entries(root)
            if entry.record.template == template.name and entry.record.environment.slug != here.slug
        ]
        raise CacheError(_nothing_for(template, here, precision, [*misses, *others]))
    records = [winners[slug].record for slug in sorted(winners)]
    if backward is not None:
        _require_same_problem(template, records)
    reference = None if backward is None else template.problem
    candidate = render.candidate(template, [store.tuned(record) for record in records], reference=reference)
    toolchain.use_here()
    return _execute(candidate, template.name)


def _require_same_problem(template: Template, records: Sequence[Record]) -> None:
    """Raise CacheError where a winner was verified against another problem than the template's."""
    sha256 = hashlib.sha256(template.problem.read_bytes()).hexdigest()
    if any(record.problem_sha256 != sha256 for record in records):
        raise CacheError(
            f"{template.name}: backward: a winner was measured against another problem than {template.problem}; "
            "export it with --backward reference"
        )


def _miss(
    entry: Entry, digests: Digests, here: Environment, precision: Precision, init: Sequence[Any] | None, accept: str
) -> str | None:
    """Which fields of the key keep an entry from applying, None for a hit."""
    from tuner import store

    record = entry.record
    if unconfirmed := store.unconfirmed(record):
        return unconfirmed
    wanted = record.workload.with_precision(precision)
    if init is not None:
        wanted = wanted.with_init(init)
    cached = store.record_key(record)
    now = store.Key.of(digests.template.name, wanted, here, digests.of(record))
    waived = store.SOFTWARE if accept == "same_device" else ()
    return store.explain(cached, now, [f for f in store.differences(cached, now) if f not in waived]) or None


def _nothing_for(template: Template, here: Environment, precision: Precision, cached: list[str]) -> str:
    config = template.folder.parent.parent / "configs" / f"{template.name}.yaml"
    given = config if config.is_file() else template.folder
    near = os.path.relpath(given)
    command = f"tuner search {given if near.startswith('..') else near}"
    known = " | ".join(cached) if cached else f"nothing is cached for {template.name}"
    return (
        f"{template.name}: no kernel tuned for {here.device_name} ({here.device_kind}, precision {precision}): "
        f"{known}; tune one with `{command}`"
    )


def _execute(candidate: Any, name: str) -> ModuleType:
    """The candidate as a module; the same text is executed once a process."""
    key = f"tuner_kernel_{name}_{candidate.sha256[:16]}"
    if key not in sys.modules:
        module = ModuleType(key)
        sys.modules[key] = module  # pickling and dataclasses look a class's module up
        try:
            exec(compile(candidate.text, f"<{key}>", "exec"), module.__dict__)
        except BaseException:
            del sys.modules[key]
            raise
        # A fresh process knows no such module: the text goes with the model.
        copyreg.pickle(module.ModelNew, functools.partial(_reduced, candidate.text, name))
    return sys.modules[key]


def _reduced(text: str, name: str, model: Any) -> tuple[Any, ...]:
    return _blank, (text, name), model.__getstate__()


def _blank(text: str, name: str) -> Any:
    """What an unpickled model is made of before its state: its class, executed from the text that it was saved with."""
    from tuner.backends import toolchain
    from tuner.template.render import Candidate

    toolchain.use_here()
    model_new = _execute(Candidate(text), name).ModelNew
    return model_new.__new__(model_new)
