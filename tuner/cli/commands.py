"""The command line: arguments in, tables out. Exit codes: 0 done, 1 nothing found or a check failed,
2 bad input (one line), 130 interrupted."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tuner import __version__
from tuner.errors import ConfigError, TunerError

if TYPE_CHECKING:
    from tuner.settings import Settings
    from tuner.template import Template

# Of files, and the user's to mend: a disk may fill up at any write, and any path may be one that cannot be.
FILE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG)
OPTIONS = ("device", "trials", "time_budget_s", "patience", "sampler", "seed", "precision", "error_budget",
           "variants", "baselines", "final_budget_s", "problem")  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tuner")
def cli() -> None:
    """Tune GPU and CPU kernels written as templates with knobs."""


def _config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    helps = {
        "device": "auto, cuda, cuda:N or cpu",
        "time_budget_s": "seconds a search may take",
        "patience": "stop after that many trials without improvement",
        "sampler": "tpe, random or exhaustive",
        "precision": "match, ieee or tf32",
        "variants": "only these, separated by commas",
        "baselines": "of eager, eager_benchmark, compile, compile_benchmark, max_autotune",
    }
    for key in reversed(OPTIONS):
        command = click.option(
            f"--{key.replace('_', '-')}", key, help=helps.get(key, f"overrides {key} of the config")
        )(command)
    return command


@cli.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@_config_options
@click.option("--fresh", is_flag=True, help="start a new study instead of resuming")
@click.option("--replace", is_flag=True, help="let a slower result replace a cached one")
@click.option("--json", "as_json", is_flag=True, help="records as JSON on stdout, progress on stderr")
def search(configs: tuple[Path, ...], fresh: bool, replace: bool, as_json: bool, **options: str | None) -> None:
    """Search the knobs for every shape of each CONFIG and cache the winners."""
    from tuner import settings
    from tuner.cli import screen
    from tuner.search import run as tune

    loaded = [(path, settings.load(path, options)) for path in configs]  # all of them read before the first search
    for _, one in loaded:
        _checked_template(one)
    console = screen.console(stderr=as_json)
    missing = interrupted = False
    results: list[dict[str, Any]] = []
    try:
        for path, one in loaded:
            with screen.Screen(console, one.template) as view:
                for outcome in tune.tune(one, settings.cache_root(path, one.template), view, fresh, replace):
                    view.outcome(outcome)
                    missing |= outcome.record is None
                    interrupted |= outcome.progress.stopped == "interrupted"
                    results.append(
                        {
                            "config": str(path),
                            "stopped": outcome.progress.stopped,
                            "trials": len(outcome.progress.trials),
                            "seconds": outcome.progress.elapsed_s,
                            "stored": outcome.stored,
                            "record": outcome.record.model_dump(mode="json") if outcome.record else None,
                        }
                    )
            if interrupted:
                break
    finally:  # what was found before a fault is said all the same
        if as_json:
            click.echo(json.dumps(results, indent=2))
    if interrupted:
        sys.exit(130)
    if missing:
        sys.exit(1)


@cli.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def validate(configs: tuple[Path, ...], as_json: bool) -> None:
    """Check CONFIG files without running anything."""
    from tuner import settings

    checked = []
    for path in configs:
        one = settings.load(path)
        kernel = _checked_template(one)
        checked.append({"config": str(path), "settings": one.model_dump(mode="json")})
        if not as_json:
            click.echo(f"{path}: ok ({kernel.name})")
    if as_json:
        click.echo(json.dumps(checked, indent=2))


def _checked_template(one: Settings) -> Template:
    """The template of a config, whose variants and knobs are known to be there."""
    from tuner import template

    with one.blame("template"):
        kernel = template.find(one.template, Path.cwd())
    with one.blame("variants"):
        kernel.check_names(one.variants, device=one.device)
    with one.blame("knobs"):
        kernel.check_names(one.variants, one.knobs, device=one.device)
    return kernel


@cli.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="the file to write")
@click.option("--device", help="auto, cuda, cuda:N or cpu")
@click.option("--precision", help="match, ieee or tf32")
@click.option("--force", is_flag=True, help="write it even when it is no faster than eager")
@click.option("--json", "as_json", is_flag=True)
def export(config: Path, output: Path, device: str | None, precision: str | None, force: bool, as_json: bool) -> None:
    """Write the winners of CONFIG as one submission that needs only PyTorch, verified in a fresh process."""
    from tuner import settings
    from tuner.export import winners

    one = settings.load(config, {"device": device, "precision": precision})
    written = winners.export_winners(one, settings.cache_root(config, one.template), output, force, _say(as_json))
    if as_json:
        click.echo(json.dumps({"submission": str(output), "records": [r.model_dump(mode="json") for r in written]}))
    else:
        click.echo(f"wrote {output} and {output.with_suffix('.md')}")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--problem", required=True, type=click.Path(path_type=Path), help="the reference in KernelBench format")
@click.option("--shape", "shapes", multiple=True, help="input shape such as 128x3x32x32x32 (one for each input)")
@click.option("--init", help="constructor arguments as JSON, such as '[3, 24, 3, 8]'")
@click.option("--device", default="auto", help="auto, cuda, cuda:N or cpu")
@click.option("--precision", default="match", type=click.Choice(["match", "ieee", "tf32"]))
@click.option("--error-budget", default=8.0, type=click.FloatRange(min=0, min_open=True, max=1e6))
@click.option("--json", "as_json", is_flag=True)
def verify(
    file: Path,
    problem: Path,
    shapes: tuple[str, ...],
    init: str | None,
    device: str,
    precision: Any,
    error_budget: float,
    as_json: bool,
) -> None:
    """Check that FILE's ModelNew computes what PROBLEM's Model does, in a fresh process."""
    from tuner.cli import screen
    from tuner.execution import verdict

    correctness = verdict.verify_file(
        file, problem, _shapes(shapes), _init(init), device, precision, error_budget, _say(as_json)
    )
    ok = not correctness.fault
    if as_json:
        click.echo(json.dumps({"ok": ok, **correctness.model_dump(mode="json")}, indent=2))
    else:
        screen.console().print(screen.cases(correctness))
        click.echo("right" if ok else "WRONG")
    sys.exit(0 if ok else 1)


def _shapes(texts: tuple[str, ...]) -> tuple[tuple[int, ...], ...] | None:
    try:
        found = tuple(tuple(int(size) for size in text.replace("x", ",").split(",")) for text in texts)
    except ValueError:
        found = ((0,),)
    if any(size < 1 for shape in found for size in shape):
        raise ConfigError(f"--shape: {' '.join(texts)!r} is not a shape such as 128x3x32x32x32")
    return found or None


def _init(text: str | None) -> list[Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list):
        raise ConfigError(f"--init: {text[:60]!r} is not a JSON list such as '[3, 24, 3, 8]'")
    return value


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda text: None) if quiet else click.echo


@cli.command()
@click.option("--json", "as_json", is_flag=True)
@click.argument("names", nargs=-1)
def templates(names: tuple[str, ...], as_json: bool) -> None:
    """List templates: variants, knobs, the size of each space."""
    from tuner import template
    from tuner.cli import screen

    rows: list[dict[str, Any]] = []
    for name in names or template.shipped_names():
        kernel = template.find(name, Path.cwd())
        for variant in kernel.variants:
            size = 1
            for knob in variant.knobs:
                size *= len(knob.choices)
            rows.append(
                {
                    "template": kernel.name,
                    "variant": variant.name,
                    "device": variant.device,
                    "points": size,
                    "doc": variant.doc,
                    "knobs": {
                        k.name: {"choices": list(k.choices), "default": k.default, "doc": k.doc} for k in variant.knobs
                    },
                    "constraints": [c.name for c in variant.constraints],
                }
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = screen.console()
    for row in rows:
        click.echo(f"{row['template']} {row['variant']} ({row['device']}): {row['doc']}")
        click.echo(f"  {row['points']} points before constraints")
        table = [
            [f"  {name}", " ".join(_choice(c, knob["default"]) for c in knob["choices"]), knob["doc"]]
            for name, knob in row["knobs"].items()
        ]
        console.print(screen.listing(["  knob", "choices (default in brackets)", ""], table))
        if row["constraints"]:
            click.echo(f"  constraints: {', '.join(row['constraints'])}")
        click.echo()


def _choice(value: Any, default: Any) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return f"[{text}]" if value == default and type(value) is type(default) else text


@cli.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Say what works on this machine: compilers, PyTorch, GPU, driver."""
    from dataclasses import asdict

    from tuner.backends.doctor import checks as find_out
    from tuner.cli import screen

    checks = find_out()
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
        return
    rows = [["ok" if c.ok else "no", c.name, c.detail, c.needed_for] for c in checks]
    screen.console().print(screen.listing(["", "what", "found", "needed for"], rows))


@cli.group()
def cache() -> None:
    """Look at and look after cached winners."""


def _root(folder: Path | None) -> Path:
    from tuner import settings

    if folder is not None and not folder.is_dir():
        raise ConfigError(f"no such cache: {folder}")
    return folder or settings.cache_root(Path.cwd())


_FOLDER = click.option("--cache", "folder", type=click.Path(path_type=Path), help="the cache (default: the project's)")


@cache.command("ls")
@_FOLDER
@click.option("--json", "as_json", is_flag=True)
def cache_ls(folder: Path | None, as_json: bool) -> None:
    """List the winners in the cache."""
    from tuner import store
    from tuner.cli import screen

    found, faults = store.scan(_root(folder))
    if as_json:
        click.echo(json.dumps([{"folder": str(e.folder), **e.record.model_dump(mode="json")} for e in found], indent=2))
    else:
        rows = []
        for entry in found:
            record = entry.record
            eager = next((f"{b.speedup:.2f}x" for b in record.baselines if b.name == "eager"), "")
            eager = eager if record.confirmed else "unconfirmed"  # of a search that was interrupted
            rows.append(
                [record.template, screen.shapes(record.workload), record.workload.precision,
                 record.environment.device_name, f"{record.latency_ms:.4g} ms", eager, str(record.point)]
            )  # fmt: skip
        headers = ["template", "shape", "precision", "device", "time", "over eager", "knobs"]
        screen.console().print(screen.listing(headers, rows))
    for fault in faults:
        click.echo(f"tuner: {fault}", err=True)
    sys.exit(1 if faults else 0)


@cache.command("why")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--device", help="auto, cuda, cuda:N or cpu")
@click.option("--json", "as_json", is_flag=True)
def cache_why(config: Path, device: str | None, as_json: bool) -> None:
    """Say for each shape of CONFIG whether the cache answers for this device, and if not, which field differs."""
    from tuner import settings
    from tuner.store import audit

    one = settings.load(config, {"device": device})
    rows: list[dict[str, Any]] = [
        {
            "workload": name,
            "hit": any(not answer.reason for answer in answers),
            "entries": [{"folder": str(answer.folder), "reason": answer.reason} for answer in answers],
        }
        for name, answers in audit.why(one, settings.cache_root(config, one.template))
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['workload']}: {'hit' if row['hit'] else 'miss'}")
            if not row["hit"]:
                lines = [f"{entry['folder']}: {entry['reason']}" for entry in row["entries"]]
                click.echo("\n".join(f"  {line}" for line in lines or ["nothing is cached"]))
    sys.exit(0 if all(row["hit"] for row in rows) else 1)


@cache.command("verify")
@_FOLDER
@click.option("--run", is_flag=True, help="also run the suite on every winner of this machine's devices")
@click.option("--template", "templates", multiple=True, help="a template folder of your own, as in a config")
@click.option("--json", "as_json", is_flag=True)
def cache_verify(folder: Path | None, run: bool, templates: tuple[str, ...], as_json: bool) -> None:
    """Check every entry: its hash, and that its template renders the same text. Damaged ones are quarantined."""
    from tuner.store import audit

    verdicts = audit.verify_cache(_root(folder), run, templates, _say(as_json))
    if as_json:
        click.echo(json.dumps([{"folder": str(v.folder), "ok": v.ok, "said": v.said} for v in verdicts], indent=2))
    else:
        for verdict in verdicts:
            click.echo(f"{verdict.folder}: {verdict.said}")
    sys.exit(0 if all(verdict.ok for verdict in verdicts) else 1)


@cache.command("rm")
@_FOLDER
@click.argument("names", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True)
def cache_rm(names: tuple[str, ...], folder: Path | None, as_json: bool) -> None:
    """Remove entries, damaged ones too. NAMES are templates, workloads or devices as their folders are called."""
    from tuner import store

    root = _root(folder)
    found = {entry: entry.relative_to(root).parts for entry in store.folders(root)}
    for name in names:
        if not any(name in parts for parts in found.values()):
            raise ConfigError(f"cache rm: {name!r} names no entry of {root}")
    removed = []
    for entry, parts in found.items():
        if not set(names).isdisjoint(parts):
            store.remove(entry)
            removed.append(str(entry))
            _say(as_json)(f"removed {entry}")
    if as_json:
        click.echo(json.dumps(removed, indent=2))


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: every TunerError and usage error is one line and exit code 2."""
    try:
        # Not `cli.main`, which makes an exit code 1 of a reader that has seen enough.
        with cli.make_context("tuner", list(sys.argv[1:] if arguments is None else arguments)) as context:
            cli.invoke(context)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except TunerError as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("tuner: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; nothing is wrong here
        sys.exit(0)
    except OSError as error:
        if error.errno not in FILE_FAULTS:
            raise
        _fail(f"{error.filename or 'writing a file'}: {error.strerror}")
    sys.exit(0)


def _fail(text: str) -> NoReturn:
    click.echo(f"tuner: {' '.join(text.split())}", err=True)
    sys.exit(2)
