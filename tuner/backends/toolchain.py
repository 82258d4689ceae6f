"""What compiles kernels: nvcc, the C++ compiler, ninja, and the environment of processes that call them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tuner.errors import DeviceError

NONE = "none"  # the version of a tool that is not there
NO_SPACE_BYTES = 2**20
BUILD_TIMEOUT_S = 60.0


def nvcc() -> str | None:
    """Path of nvcc: in $CUDA_HOME, on PATH, or where NVIDIA's installer puts it."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = (shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes)
    return next(filter(None, found), None) or shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def compiler() -> list[str]:
    """Command of the C++ compiler that PyTorch will call: all words of $CXX ("ccache g++"), else c++.

    Empty where its first word is no program.
    """
    try:
        words = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # an open quote
        return []
    first, *others = words or ["c++"]
    path = shutil.which(first)
    return [path, *others] if path else []


def ninja() -> str | None:
    """Path of ninja: beside this Python (where pip puts it) or on PATH."""
    return shutil.which("ninja", path=environment()["PATH"])


def need_toolchain() -> None:
    """Raise DeviceError unless what is compiled here can be loaded; kernels for CUDA, too, need the C++ compiler."""
    if not compiler():
        named = os.environ.get("CXX")
        what = f"CXX names {named!r}, which is not there" if named else "no C++ compiler was found"
        raise DeviceError(f"{what}; install g++ or set CXX (`tuner doctor` shows what works here)")
    if ninja() is None:
        raise DeviceError("ninja was not found; `pip install ninja`")
    build('extern "C" void nothing() {}\n', flags=())


def build(source: str, flags: Sequence[str] = ("-O3", "-march=native")) -> ctypes.CDLL:
    """Compile C++ into a library in the temporary folder, and load it. Raises DeviceError that says what failed."""
    command = compiler()
    if not command:
        raise DeviceError("no C++ compiler was found; install g++ or set CXX")
    called, doctor = f"the C++ compiler {shlex.join(command)}", "`tuner doctor` shows what works here"
    with tempfile.TemporaryDirectory(prefix="tuner-build-") as folder:
        file, library = Path(folder, "source.cpp"), Path(folder, "source.so")
        file.write_text(source)
        command += ["-std=c++17", *flags, "-shared", "-fPIC", "-o", str(library), str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=BUILD_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"{called} failed: {error}; {doctor}") from None
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
            raise DeviceError(f"{called} failed: {said}; {doctor}")
        if not library.exists():
            raise DeviceError(f"{called} ended without an error, and without a library; {doctor}")
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            place = f"set TMPDIR to another folder than {tempfile.gettempdir()} if that one is mounted noexec"
            raise DeviceError(f"a library that {called} built cannot be loaded ({error}); {place}") from None


def environment() -> dict[str, str]:
    """Environment variables for processes that compile.

    torch calls `ninja` from PATH, where it is not when Python was started by its path
    without activating its virtual environment; and it takes all of $CXX for the name of one program.
    """
    ahead = [os.path.dirname(sys.executable)]
    variables = dict(os.environ)
    found = nvcc()
    if found is not None:
        ahead.append(os.path.dirname(found))
        home = os.path.dirname(os.path.dirname(os.path.realpath(found)))
        if os.path.isfile(os.path.join(home, "include", "cuda_runtime.h")):  # nvcc may be a wrapper elsewhere
            variables.setdefault("CUDA_HOME", home)
    variables["PATH"] = os.pathsep.join([*ahead, variables.get("PATH", os.defpath)])
    command = compiler()
    if len(command) > 1:
        variables["CXX"] = str(_one_program(command))
    return variables


def use_here() -> None:
    """Change PATH and CXX of this very process where PyTorch would not find ninja or the compiler by them."""
    found = environment()
    if shutil.which("ninja") is None and ninja() is not None:
        os.environ["PATH"] = found["PATH"]
    if len(compiler()) > 1:
        os.environ["CXX"] = found["CXX"]


def _one_program(command: Sequence[str]) -> Path:
    """A script that runs `command`, in a folder that only this user writes to."""
    text = f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    folder = Path(tempfile.gettempdir(), f"tuner-compilers-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise DeviceError(f"{folder} is not this user's own folder; remove it, or set TMPDIR")
    script = folder / f"c++-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if not script.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.chmod(file.name, 0o700)
        os.replace(file.name, script)  # whole at once: another process may be about to call it
    return script


def no_space(folder: Path) -> bool:
    """Whether so little is left there that this is what a failed write or build means."""
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


@functools.cache
def nvcc_version() -> str:
    """nvcc's version, e.g. "13.0.88"; "none" without nvcc."""
    found = nvcc()
    match = re.search(r"\bV(\d+\.\d+\.\d+)", _output([found, "--version"])) if found else None
    return match[1] if match else NONE


@functools.cache
def compiler_version() -> str:
    """Family and version of the C++ compiler itself, e.g. "gcc 12.2.0"; "none" without one.

    A launcher ahead of it (ccache, env) is passed through: it hands `--version` on.
    """
    command = compiler()
    if not command:
        return NONE
    banner = _output([*command, "--version"])
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)", re.sub(r"\([^)]*\)", "", banner))
    return f"{'clang' if 'clang' in banner else 'gcc'} {match[1] if match else 'unknown'}"


def _output(command: list[str]) -> str:
    """What a tool prints, "" when it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
