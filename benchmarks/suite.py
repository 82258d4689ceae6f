r"""Drafts, searches, exports and judges every problem of a folder, and writes what came of it as a table.

    python benchmarks/suite.py FOLDER [--seconds-each 20] [--only 22,25] [--device auto] [--output FILE]
    python benchmarks/suite.py --reduced dozen --device cpu --seconds-each 2 --final-budget-s 1 \
        --baselines eager --search-only --jobs 2

Each problem has a process of its own, and a time limit; one that goes wrong is a line of the table. A line is
written to OUTPUT.jsonl as soon as it is there, the table to OUTPUT.md and OUTPUT.json. The same command again goes on
where it stopped: what is there already, of the same file and with the same options, is not made again. What was
made on the way (drafts' caches, submissions, logs) is kept in --work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import suite_table
import suite_warm
from problems import reduced
from suite_steps import Options, Row, Running, attempt, identity

RESULTS = Path(__file__).parent / "results"


def problems_of(folder: Path) -> dict[str, Path]:
    """The problem files of a folder and of its folders level*/, by name, in the order of their numbers."""
    paths = [path for path in [*folder.glob("*.py"), *folder.glob("level*/*.py")] if "get_inputs" in path.read_text()]
    return {f"{path.parent.name}/{path.stem}": path.resolve() for path in sorted(paths, key=_order)}


def named(problems: Iterable[str], only: Sequence[str]) -> list[str]:
    """Of these problems those that are wanted: by number ("22"), by level and number ("level2/22"), or by a part."""
    return [name for name in problems if not only or any(_is(each, name) for each in only)]


def _order(path: Path) -> tuple[str, int, str]:
    number = re.match(r"\d+", path.name)
    return path.parent.name, int(number[0]) if number else 0, path.name


def _is(wanted: str, name: str) -> bool:
    if wanted.rpartition("/")[2].isdigit():
        return name.split("_")[0].endswith(wanted if "/" in wanted else f"/{wanted}")
    return wanted in name


def done(lines: Path, problems: dict[str, Path], options: Options) -> dict[str, Row]:
    """The rows that are there already, of the same files and with the same options; the last of each counts."""
    rows: dict[str, Row] = {}
    for line in lines.read_text().splitlines() if lines.exists() else ():
        with contextlib.suppress(ValueError):  # a line cut short by a kill
            row = json.loads(line)
            path = problems.get(row["problem"])
            if path is not None and row.items() >= identity(path, row["problem"], options).items():
                rows[row["problem"]] = row
    return rows


class Suite:
    """The problems of a folder, and the rows that they have so far; the table is of all rows, whichever were wanted."""

    def __init__(self, problems: dict[str, Path], options: Options, output: Path, work: Path, running: Running) -> None:
        self.problems, self.options, self.output, self.work, self.running = problems, options, output, work, running
        self.lines = Path(f"{output}.jsonl")
        self.rows = done(self.lines, problems, options)
        self.writing = threading.Lock()
        output.parent.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        wanted: Sequence[str],
        jobs: int = 1,
        stop_after_s: float = float("inf"),
        again: Sequence[str] = (),
    ) -> list[str]:
        """Make the rows of these problems; of those that are there only what has a status of `again`.

        Returns the names of what is left.

        No problem begins after `stop_after_s` seconds, or when one like those so far would end after it.
        """
        left = [name for name in wanted if name not in self.rows or self.rows[name]["status"] in again]
        began, longest, made = time.monotonic(), 0.0, set[str]()
        free = queue.SimpleQueue[str]()
        for device in self.options.device.split(",") * jobs:
            free.put(device)

        def one(name: str) -> None:
            device = free.get()
            try:
                on(device, name)
            finally:
                free.put(device)

        def on(device: str, name: str) -> None:
            nonlocal longest
            started = time.monotonic()
            if started - began + longest > stop_after_s or self.running.ended:
                return
            say(f"{name} ({sum(each in self.rows for each in wanted)} of {len(wanted)} done)")
            row = attempt(self.problems[name], name, self.options, self.work / name, self.running, device)
            if self.running.ended:
                return
            longest = max(longest, time.monotonic() - started)
            self.add(row)
            made.add(name)

        pool = ThreadPoolExecutor(free.qsize())
        try:
            list(pool.map(one, left))
        except BaseException:
            self.running.end()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return [name for name in left if name not in made]

    def add(self, row: Row) -> None:
        """Keep a row at once: whatever becomes of the next one."""
        with self.writing:
            self.rows[row["problem"]] = row
            earlier = self.lines.read_text() if self.lines.exists() else ""
            with self.lines.open("a") as file:
                cut_short = earlier and not earlier.endswith("\n")  # by a kill
                file.write(("\n" if cut_short else "") + json.dumps(row) + "\n")
            suite_table.write(self.output, self.in_order())
        say(f"{row['problem']}: {row['status']}{row['reason'] and ': '}{row['reason']}")

    def in_order(self) -> list[Row]:
        return [self.rows[name] for name in self.problems if name in self.rows]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--reduced", choices=("dozen", "all"), help="the development problems at sizes for a CPU")
    parser.add_argument(
        "--only", default="", help="numbers or parts of names, separated by commas: 22,level1/89,conv2d"
    )
    parser.add_argument("--seconds-each", type=float, default=20, help="of search")
    parser.add_argument("--final-budget-s", type=float, default=6, help="of sampling beside the baselines")
    parser.add_argument("--baselines", default="eager,compile_benchmark", help=", ".join(suite_table.WAYS))
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu; several with commas")
    parser.add_argument("--time-limit", type=float, default=240, help="seconds that one problem may take in all")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="seconds after which none begins")
    parser.add_argument("--warm", type=int, default=0, help="first compile the baselines of so many problems at once")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="problems at once, of which a device times one; on a CPU the others disturb",
    )
    parser.add_argument("--search-only", action="store_true", help="neither export nor judge a second time")
    parser.add_argument("--no-verify", action="store_true", help="export, which verifies, and no `tuner verify` more")
    parser.add_argument("--again", default="", help="make these anew: failed, refused, timeout, right (with commas)")
    parser.add_argument("--fresh", action="store_true", help="make all anew, as after a change of the code")
    parser.add_argument("--search-options", default="", help="more options of `tuner search`, in one string")
    parser.add_argument("--output", type=Path, help="without ending (default: benchmarks/results/suite-FOLDER)")
    parser.add_argument("--work", type=Path, help="for caches, submissions and logs (default: a temporary folder)")
    options = parser.parse_args()
    if (options.folder is None) == (options.reduced is None):
        parser.error("name a FOLDER of problems, or --reduced")
    name = f"reduced-{options.reduced}" if options.reduced else options.folder.resolve().name
    output = options.output or RESULTS / f"suite-{name}"
    work = options.work or Path(tempfile.gettempdir()) / f"tuner-suite-{name}"
    only = [each for each in options.only.split(",") if each]
    folder = options.folder
    if options.reduced:
        folder = work / "problems"
        reduced.write(folder)
        only = only or (list(reduced.DOZEN) if options.reduced == "dozen" else [])
    problems = problems_of(folder)
    chosen = named(problems, only)
    if not chosen:
        parser.error(f"{folder}: no such problems")
    wanted = Options(
        seconds_each=options.seconds_each,
        final_budget_s=options.final_budget_s,
        baselines=tuple(way for way in options.baselines.split(",") if way),
        device=options.device,
        time_limit_s=options.time_limit,
        export=not options.search_only,
        verify=not options.no_verify,
        more=tuple(options.search_options.split()),
    )
    # Inductor's kernels outlive a run: warming up a baseline is most of a problem's time where they have to be made.
    kernels = work.resolve() / "inductor"
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(kernels)}
    if options.fresh:
        Path(f"{output}.jsonl").unlink(missing_ok=True)
    suite = Suite(problems, wanted, output, work, Running(environment=environment))
    try:
        with _ended_by_sigterm():
            cold = [problems[name] for name in chosen if name not in suite.rows]
            if options.warm:
                suite_warm.warm(cold, wanted.baselines, options.device, kernels, options.warm, options.time_limit)
            left = suite.run(chosen, options.jobs, options.stop_after, options.again.split(","))
    except KeyboardInterrupt:
        say("suite: interrupted; the same command goes on from here")
        return 130
    print(suite_table.markdown(suite.in_order()))
    if left:
        say(f"suite: {len(left)} problems are left; the same command goes on")
    wrong = [name for name in chosen if name in suite.rows and suite.rows[name]["status"] in ("failed", "timeout")]
    return 1 if left or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
