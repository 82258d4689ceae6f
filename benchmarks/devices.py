"""Searches over several devices: what a coordinator costs, what becomes of trials whose workers die, two GPUs.

    python benchmarks/devices.py coordinator [--workers 64] [--trials 10000] [--sleep-s 0.5] [--search]
    python benchmarks/devices.py faults [--seconds 60]
    python benchmarks/devices.py host CONFIG --devices cuda:0,cuda:1 [--trials 200]

`coordinator` simulates workers that sleep, all in one process beside the scheduler. What it counts is the processor
time of giving trials out and taking results in; with `--search` that of a whole search: sampler, ledger and study, too.
`faults` kills one of four worker processes at random every second, and then stops one
without killing it. `host` needs two devices of one kind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from helpers.crew import Quiet, Sleepers, enlist_one, measured, ms_of, perform_asleep, run, subject

from tuner.cluster import versions
from tuner.cluster.connect import LOG_LENGTH, LOOPBACK
from tuner.cluster.station import Fleet
from tuner.cluster.workers import Crew, Workers
from tuner.records import Evaluation
from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.search.progress import Budget
from tuner.space import Branch, Facts, Knob, Space
from tuner.template.render import Candidate

SETTLED_S = 3.0  # since a worker came, before it is killed: Dask's nanny starts none again that dies while it starts
GOAL_MS = 5.0  # of the coordinator's processor time, a trial
DEVICES = tuple(f"cpu:{core}-{core}" for core in range(4))
SPACE = Space((Branch("one", tuple(Knob(name, tuple(range(16)), 0) for name in "abcde")),), Facts())
TEXT = "#" * 50_000  # a candidate's text is about that long


# ---- what a coordinator costs -----------------------------------------------------------------------


def simulate(pipe: multiprocessing.connection.Connection, count: int) -> None:
    """A process with a scheduler and so many workers, until the pipe closes."""

    async def serve() -> None:
        place = f"{LOOPBACK}:0"
        async with (
            distributed.Scheduler(host=LOOPBACK, port=0, dashboard=False, dashboard_address=place) as scheduler,
            contextlib.AsyncExitStack() as stack,
        ):
            for number in range(count):
                one = distributed.Worker(
                    scheduler.address, nthreads=1, name=str(number), memory_limit=0, host=LOOPBACK,
                    dashboard=False, dashboard_address=place,
                )  # fmt: skip
                await stack.enter_async_context(one)
            pipe.send(scheduler.address)
            with contextlib.suppress(EOFError):
                await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


@contextlib.contextmanager
def simulated(count: int) -> Iterator[tuple[str, int]]:
    """The address of a scheduler with so many workers that sleep, and their process."""
    ours, theirs = multiprocessing.Pipe()
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
    process = multiprocessing.get_context("spawn").Process(target=simulate, args=(theirs, count), daemon=True)
    process.start()
    theirs.close()
    address: str = ours.recv()
    assert process.pid is not None
    try:
        yield address, process.pid
    finally:
        ours.close()
        process.join(30)
        process.kill()


class Rendering:
    """Points to candidates of a usual length, as a search does it; says from time to time what was used so far."""

    waited_s = 0.0

    def __init__(self, fleet: Fleet, every: int) -> None:
        self.fleet, self.every, self.done = fleet, every, 0
        self.rows: list[tuple[int, float, float, float]] = []  # trials, wall s, CPU ms a trial since the last, RSS MiB
        self.began, self.used = time.monotonic(), time.process_time()

    @property
    def capacity(self) -> int:
        return self.fleet.capacity

    def submit(self, number: int, point: object) -> None:
        self.fleet.submit(number, Candidate(f"{point}\n{TEXT}"))

    def next(self) -> tuple[int, str, Evaluation]:
        result = self.fleet.next()
        self.done += 1
        if self.done % self.every == 0:
            used, memory = time.process_time(), psutil.Process().memory_info().rss / 2**20
            row = (self.done, time.monotonic() - self.began, (used - self.used) / self.every * 1e3, memory)
            self.used = used
            self.rows.append(row)
            print("{} trials, {:.0f} s, {:.2f} ms a trial, {:.0f} MiB".format(*row), file=sys.stderr, flush=True)
        return result


def coordinator(options: argparse.Namespace) -> None:
    with (
        dask.config.set({"distributed.admin.low-level-log-length": LOG_LENGTH}),
        simulated(options.workers) as (address, pid),
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        with distributed.Client(address, set_as_default=False) as client:
            workers = Workers(client, lambda device, text: None, Crew(versions.asking, enlist_one, perform_asleep))
            workers.gather(120)
            while len(workers.members) < options.workers:
                time.sleep(0.5)
            (kind,) = workers.kinds()
            asked = subject(folder, options.sleep_s)
            before = psutil.Process(pid).cpu_times()
            with contextlib.closing(Fleet(workers, kind, asked, 0.0, None, Quiet())) as fleet:
                rendering = Rendering(fleet, max(1, options.trials // 10))
                if options.search:
                    seen = searched(rendering, options.trials, folder)
                else:
                    seen = given(rendering, options.trials)
            wall_s = time.monotonic() - rendering.began
            after = psutil.Process(pid).cpu_times()
            workers.close()
    others_ms = (after.user + after.system - before.user - before.system) / options.trials * 1e3
    ideal_s = options.trials * options.sleep_s / options.workers
    what = "random sampler, ledger and study" if options.search else "trials given out and results taken in"
    print(f"\n{options.workers} workers that sleep {options.sleep_s:g} s a trial; {what}.")
    print(f"{seen} trials came back, each once, in {wall_s:.0f} s (workers alone: {ideal_s:.0f} s).")
    print(f"Scheduler and workers, in the other process: {others_ms:.2f} ms a trial.\n")
    print("| trials | wall s | coordinator's CPU ms a trial, since the last row | memory MiB |\n|---|---|---|---|")
    for row in rendering.rows:
        print("| {} | {:.0f} | {:.2f} | {:.0f} |".format(*row))
    mean = sum(row[2] for row in rendering.rows) / len(rendering.rows)
    print(f"\nMean {mean:.2f} ms; the goal is {GOAL_MS:g} ms: {'reached' if mean < GOAL_MS else 'missed'}.")


def given(rendering: Rendering, trials: int) -> int:
    """So many trials, as a search would have them measured; how many different ones came back."""
    begun, came = 0, set[int]()
    while len(came) < trials:
        while begun < trials and begun - len(came) < rendering.capacity:
            rendering.submit(begun, begun)
            begun += 1
        number = rendering.next()[0]
        assert number not in came, "told twice"
        came.add(number)
    return len(came)


def searched(rendering: Rendering, trials: int, folder: Path) -> int:
    """A search of so many trials; how many different ones are in its ledger."""
    ledger = folder / "ledger.jsonl"
    Search(SPACE, "random", 0, folder / "study.sqlite3", "study", Ledger(ledger)).run(rendering, Budget(trials))
    return len({json.loads(line)["number"] for line in ledger.read_text().splitlines()})


# ---- workers that die -------------------------------------------------------------------------------


def faults(options: argparse.Namespace) -> int:
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": "5s"}),
        Sleepers(*DEVICES) as sleepers,
        tempfile.TemporaryDirectory() as name,
    ):
        folder, stop, kills = Path(name), threading.Event(), 0

        def kill() -> None:
            nonlocal kills
            rng, since = random.Random(0), dict[int, float]()
            while not stop.wait(1.0):
                with contextlib.suppress(Exception):  # there may be none
                    now = time.monotonic()
                    since = {pid: since.get(pid, now) for pid in sleepers.pids().values()}
                    os.kill(rng.choice([pid for pid in sorted(since) if now - since[pid] >= SETTLED_S]), signal.SIGKILL)
                    kills += 1

        texts = [str(number) for number in range(options.trials)]
        killing = threading.Thread(target=kill, daemon=True)
        killing.start()
        began = time.monotonic()
        threading.Timer(options.seconds, stop.set).start()
        with contextlib.closing(fleet_of(sleepers, folder)) as fleet:
            found = run(fleet, texts)
        stop.set()
        killing.join()
        ok = report(
            "killed at random, one a second where one has been there for 3 s",
            texts,
            found,
            folder,
            time.monotonic() - began,
        )
        print(f"  {kills} kills in {min(options.seconds, time.monotonic() - began):.0f} s")
        sleepers.wait_for(len(DEVICES))
        (folder / "hung").mkdir()
        began, texts = time.monotonic(), texts[:100]
        stopped = partial(os.kill, next(iter(sleepers.pids().values())), signal.SIGSTOP)
        with contextlib.closing(fleet_of(sleepers, folder / "hung")) as fleet:
            found = run(fleet, texts, {20: stopped})
        ok &= report("one stopped (SIGSTOP) for good", texts, found, folder / "hung", time.monotonic() - began)
    return 0 if ok else 1


def fleet_of(sleepers: Sleepers, folder: Path) -> Fleet:
    return Fleet(sleepers.workers, sleepers.kind, subject(folder, 0.1), 0.0, None, Quiet())


def report(what: str, texts: list[str], found: dict[str, Evaluation], folder: Path, seconds: float) -> bool:
    crashed = [text for text, evaluation in found.items() if evaluation.performance is None]
    again = sum(times - 1 for times in measured(folder).values())
    same = min(found, key=lambda text: found[text].latency_ms) == min(texts, key=ms_of)
    print(f"{what}: {len(texts)} trials in {seconds:.0f} s on {len(DEVICES)} workers")
    print(f"  lost {len(texts) - len(found)}, crashed {len(crashed)}, winner {'the same' if same else 'ANOTHER'}")
    print(f"  told twice 0; measured again because the result died with its worker: {again}")
    return len(found) == len(texts) and same


# ---- two devices of one host --------------------------------------------------------------------------


def host(options: argparse.Namespace) -> int:
    devices = options.devices.split(",")
    seconds = {}
    for chosen in (devices[:1], devices):
        with tempfile.TemporaryDirectory() as cache:
            began = time.monotonic()
            arguments = [str(options.config), "--devices", ",".join(chosen), "--trials", str(options.trials), "--json"]
            done = subprocess.run(
                [sys.executable, "-m", "tuner", "search", *arguments, "--baselines", "eager"],
                env={**os.environ, "TUNER_CACHE_DIR": cache}, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            if done.returncode != 0:
                return done.returncode
            result: list[dict[str, Any]] = json.loads(done.stdout)
            seconds[len(chosen)] = sum(each["seconds"] for each in result)
            print(
                f"{', '.join(chosen)}: {seconds[len(chosen)]:.0f} s of search, {time.monotonic() - began:.0f} s in all"
            )
    print(
        f"{len(devices)} devices take {seconds[len(devices)] / seconds[1]:.2f} of the time of one (goal for two: 0.6)"
    )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("coordinator")
    one.add_argument("--workers", type=int, default=64)
    one.add_argument("--trials", type=int, default=10_000)
    one.add_argument("--sleep-s", type=float, default=0.5)
    one.add_argument("--search", action="store_true")
    one = parts.add_parser("faults")
    one.add_argument("--seconds", type=float, default=60.0)
    one.add_argument("--trials", type=int, default=1500)
    one = parts.add_parser("host")
    one.add_argument("config", type=Path)
    one.add_argument("--devices", required=True)
    one.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    if options.part == "coordinator":
        coordinator(options)
        return 0
    return faults(options) if options.part == "faults" else host(options)


if __name__ == "__main__":
    sys.exit(main())
