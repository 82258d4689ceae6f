"""Where the seconds of a command go: its calls to other processes, each with when it began and how long it took.

    python benchmarks/calls.py [--least 0.05] search PROBLEM.py --time-budget-s 15

What follows the options is given to `tuner`. A line on stderr for each call of at least so many seconds, as
"when, seconds, thread, request"; at the end a line for each kind of request, with its count and its sum. Calls of
several threads overlap, so the sums may exceed the command's own time.
"""

from __future__ import annotations

import argparse
import atexit
import collections
import sys
import threading
import time
from typing import Any

from tuner.cli.main import main
from tuner.workers.worker import Worker


def watch(least: float) -> None:
    """Have every call say what it took; the sums are printed when this process ends."""
    began = time.monotonic()
    sums: dict[str, list[float]] = collections.defaultdict(list)
    call = Worker.call

    def timed(self: Worker[Any], request: Any, deadline_s: float) -> Any:
        start = time.monotonic()
        try:
            return call(self, request, deadline_s)
        finally:
            took = time.monotonic() - start
            sums[type(request).__qualname__].append(took)
            if took >= least:
                name = f"{threading.current_thread().name} {type(request).__qualname__}"
                print(f"{start - began:8.2f} {took:7.2f}  {name}", file=sys.stderr, flush=True)

    def summed() -> None:
        for name, took in sorted(sums.items(), key=lambda item: -sum(item[1])):
            print(f"{sum(took):8.2f} s in {len(took):4d} of {name}", file=sys.stderr)

    atexit.register(summed)
    Worker.call = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=0.05, help="seconds of a call that is printed")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    watch(asked.least)
    sys.argv[1:] = asked.command
    main()
