"""tuner cache: look at and look after cached winners."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.configs import config_argument, given, override
from tuner.cli.output import complain, json_option, print_json, say
from tuner.errors import ConfigError
from tuner.screen import pulse

if TYPE_CHECKING:
    from tuner.store import Entry

_cache_option = click.option(
    "--cache", "folder", type=click.Path(path_type=Path), help="the cache (default: the project's)"
)


@click.group()
def cache() -> None:
    """Look at and look after cached winners."""


def _roots(folder: Path | None) -> list[Path]:
    """The cache that was named, else those that there are for the working folder."""
    from tuner import settings

    if folder is None:
        return settings.cache_roots(settings.working_folder())
    if not folder.is_dir():
        raise ConfigError(f"no such cache: {folder}")
    return [folder]


@cache.command("ls")
@_cache_option
@json_option
def cache_ls(folder: Path | None, as_json: bool) -> None:
    """List the winners in the cache."""
    from tuner import store
    from tuner.screen import tables

    scans = [store.scan(root) for root in _roots(folder)]
    found = [entry for entries, _ in scans for entry in entries]
    if as_json:
        print_json([{"folder": str(e.folder), **e.record.model_dump(mode="json")} for e in found])
    else:
        headers = ["template", "shape", "precision", "device", "time", "over eager", "knobs"]
        tables.console().print(tables.listing(headers, [_row(entry) for entry in found]))
    faults = [fault for _, faults in scans for fault in faults]
    for fault in faults:
        complain(str(fault))
    sys.exit(1 if faults else 0)


def _row(entry: Entry) -> list[str]:
    from tuner import store
    from tuner.screen import tables

    record = entry.record
    eager = next((f"{b.speedup:.2f}x" for b in record.baselines if b.name == "eager"), "")
    return [
        record.template,
        tables.shapes(record.workload),
        record.workload.precision,
        record.environment.device_name,
        f"{record.latency_ms:.4g} ms",
        "unconfirmed" if store.unconfirmed(record) else eager,  # of a search that was interrupted, say
        str(record.point),
    ]


@cache.command("why")
@config_argument
@override("device", "dtype")
@json_option
def cache_why(config: Path, device: str | None, dtype: str | None, as_json: bool) -> None:
    """Say for each shape of CONFIG whether the cache answers for this device, and if not, which field differs."""
    from tuner import settings
    from tuner.store import audit

    options = {"device": device, "dtype": dtype}
    asked = given(config, say(as_json), options)
    one = settings.load(asked.config, options)
    with asked.named():
        answers = audit.why(one, settings.cache_root(asked.config, one.template))
    if as_json:
        print_json(
            [
                {
                    "workload": each.workload,
                    "hit": each.hit,
                    "entries": [{"folder": str(entry.folder), "reason": entry.reason} for entry in each.entries],
                }
                for each in answers
            ]
        )
    else:
        for each in answers:
            click.echo(f"{each.workload}: {'hit' if each.hit else 'miss'}")
            if not each.hit:
                lines = [f"{entry.folder}: {entry.reason}" for entry in each.entries]
                click.echo("\n".join(f"  {line}" for line in lines or ["nothing is cached"]))
    sys.exit(0 if all(each.hit for each in answers) else 1)


@cache.command("verify")
@_cache_option
@click.option("--run", is_flag=True, help="also run the suite on every winner of this machine's devices")
@click.option("--template", "templates", multiple=True, help="a template folder of your own, as in a config")
@json_option
def cache_verify(folder: Path | None, run: bool, templates: tuple[str, ...], as_json: bool) -> None:
    """Check every entry: its hash, and that its template renders the same text. Damaged ones are quarantined."""
    from tuner.store import audit

    with pulse.telling(say(as_json)) as begin:
        findings = [each for root in _roots(folder) for each in audit.verify_cache(root, run, templates, begin)]
    if as_json:
        print_json([{"folder": str(f.folder), "ok": f.ok, "said": f.said} for f in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.folder}: {finding.said}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@cache.command("rm")
@_cache_option
@click.argument("names", nargs=-1, required=True)
@json_option
def cache_rm(names: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Remove entries, damaged ones too. NAMES are templates, workloads or devices as their folders are called."""
    from tuner import store

    roots = _roots(folder)
    found = {entry: entry.relative_to(root).parts for root in roots for entry in store.folders(root)}
    for name in names:
        if not any(name in parts for parts in found.values()):
            raise ConfigError(f"cache rm: {name!r} names no entry of {', '.join(map(str, roots))}")
    removed = []
    for entry, parts in found.items():
        if not set(names).isdisjoint(parts):
            store.remove(entry)
            removed.append(str(entry))
            if not as_json:
                click.echo(f"removed {entry}")
    if as_json:
        print_json(removed)
