"""Faults that a user can mend.

Every one is a single line that names the file and the key or option at fault
and says what would be right. The command line prints it and exits with 2.
Anything else that goes wrong is a bug and keeps its traceback.

    TunerError
      ConfigError
      TemplateError
      ProblemError
      DeviceError (DeviceFailed)
      CacheError
        store.EntryFault (CorruptEntry, StaleEntry)
      cli.configs.WrongConfigs
      export.kernelbench.ExportError
      execution.verdict.WrongFile
      workers.worker.WorkerFailure (WorkerTimeout, WorkerCrash, WorkerGarbled)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


class TunerError(Exception):
    """Base of every fault that is the input's or the machine's, not tuner's."""


class ConfigError(TunerError):
    """A YAML config, an option or an environment variable is wrong."""


class TemplateError(TunerError):
    """A template folder is missing a part or contradicts itself."""


class ProblemError(TunerError):
    """A problem file is not in the KernelBench format or refuses a shape."""


class UnjudgeableError(ProblemError):
    """No case can tell a right result of this problem from a wrong one: its reference is random, say."""


class DeviceError(TunerError):
    """The device or the toolchain that was asked for is not there."""


class DeviceFailed(DeviceError):
    """A device that is there failed while it worked: on another one the same may go well."""


class CacheError(TunerError):
    """A cache entry is missing, altered or cannot be written."""


@contextlib.contextmanager
def named_as(used: Path, given: Path) -> Iterator[None]:
    """Inside, a fault that names the file `used` names the file `given`, which stands for it, as the user did."""
    try:
        yield
    except TunerError as fault:
        name_as(fault, used, given)
        raise


def name_as(fault: TunerError, used: Path, given: Path) -> None:
    """Have a fault that names the file `used` name the file `given`."""
    fault.args = (str(fault).replace(str(used), str(given)),)


def words_of(error: BaseException) -> str:
    """What an exception of somebody else's code says, which may refuse to say it."""
    try:
        return str(error).strip()
    except BaseException:
        return "its message cannot be read"


def line_of(error: BaseException) -> str:
    """An exception's type and all of its words, folded into one line."""
    return ": ".join(filter(None, (type(error).__name__, " ".join(words_of(error).split()))))
