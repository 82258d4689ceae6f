"""The entry point. Exit codes: 0 done, 1 nothing found or a check failed, 2 bad input (one line), 3 cannot be judged,
130 interrupted, 143 terminated."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from functools import partial
from typing import NoReturn

import click

from tuner import __version__
from tuner.cli import interrupts
from tuner.cli.cache import cache
from tuner.cli.configs import WrongConfigs
from tuner.cli.doctor import doctor
from tuner.cli.files import EXIT_CODES, export, verify
from tuner.cli.new import new
from tuner.cli.output import complain
from tuner.cli.report import report
from tuner.cli.results import results
from tuner.cli.search import search
from tuner.cli.templates import templates, validate
from tuner.errors import TunerError, UnjudgeableError
from tuner.screen import pulse
from tuner.settings import working_folder

# Of files, and the user's to mend: a disk may fill up at any write, and any path may be one that cannot be.
FILE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tuner")
def cli() -> None:
    """Tune GPU and CPU kernels written as templates with knobs."""


for command in (new, search, results, report, validate, export, verify, templates, doctor, cache):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: every TunerError and usage error is one line and exit code 2."""
    _open_standard_streams()
    interrupts.install()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Not `cli.main`, which makes an exit code 1 of a reader that has seen enough.
        with (
            cli.make_context("tuner", words[:]) as context,
            pulse.going_on(_doing(words), partial(click.echo, err=True)),
        ):
            cli.invoke(context)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.format_message())
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message())
    except WrongConfigs as several:
        _fail(*several.faults)
    except TunerError as error:
        _fail(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("tuner: interrupted", err=True)
        sys.exit(interrupts.exit_code())
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; nothing is wrong here
        sys.exit(0)
    except OSError as error:
        mendable = _file_fault(error)
        if mendable is None:
            raise
        _fail(mendable)
    sys.exit(0)


def _doing(words: list[str]) -> str:
    """What a command is called while it says nothing more precise: its words up to the first option or path."""
    names = itertools.takewhile(lambda word: word.isidentifier(), words[:2])
    return " ".join(("tuner", *names))


def _open_standard_streams() -> None:
    """Lead each stream that was closed (`>&-`) nowhere, before a file gets its number and others write into it."""
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number: this one


def _file_fault(error: OSError) -> str | None:
    """What the user can mend about files, None for a bug."""
    if error.errno in FILE_FAULTS:
        return f"{error.filename or 'writing a file'}: {error.strerror}"
    try:
        working_folder()  # processes cannot be started from one that is gone
    except TunerError as gone:
        return str(gone)
    return None


def _fail(*faults: TunerError | str) -> NoReturn:
    """A line for each; the exit code of what cannot be judged where it is nothing else."""
    unjudgeable = [isinstance(fault, UnjudgeableError) for fault in faults]
    for fault, is_unjudgeable in zip(faults, unjudgeable, strict=True):
        complain(f"cannot be judged: {fault}" if is_unjudgeable else str(fault))
    sys.exit(EXIT_CODES["cannot be judged"] if all(unjudgeable) else 2)
