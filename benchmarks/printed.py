"""Reports that are printed line by line, and kept in a file below the command that made them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path


def on_one_thread() -> None:
    """Start this program again with one thread for linear algebra: for runs side by side, and for CPU times."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})


def printed(lines: Iterable[str], output: Path | None, folder: Path | None = None) -> None:
    """Print the command, in which `folder` is FOLDER, and the lines as they come; all of it into `output`, too."""
    arguments = ["FOLDER" if folder is not None and a == str(folder) else a for a in sys.argv[1:]]
    kept = [f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(arguments)}`\n"]
    print(kept[0])
    for line in lines:
        print(line, flush=True)
        kept.append(line)
    if output is not None:
        output.write_text("\n".join(kept) + "\n")
