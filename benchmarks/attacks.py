"""Attacks on the verification, and what becomes of each: the table of results/robustness.md.

    python benchmarks/attacks.py

Each is a candidate for relu(LayerNorm(x)) on a CPU. Those that want to be called right go through all that
`tuner verify` asks; those that want to harm others through a trial, after which an honest one is measured.
Exits with 1 when one gets past.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from helpers.arena import Arena
from helpers.attacks import LEAVES_BEHIND, MISTIMED, REFUSED
from helpers.new_attacks import ANSWERS, BENCH, HARM, TELLS

from tuner.records import Status

GROUPS = {
    "that got past earlier versions": REFUSED,
    "on the bench, in whose process a candidate runs": BENCH,
    "that are right only where it is looked at": TELLS,
    "by what is given back": ANSWERS,
}


def short(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return (line if len(line) <= 110 else f"{line[:107]}...").replace("|", "/")


def main() -> int:
    past = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(Arena(Path(folder), run_timeout_s=10.0)) as arena,
    ):
        print(f"An honest candidate: {arena.verify() or 'right'}.\n")
        for title, group in GROUPS.items():
            print(f"\n| attacks {title} | said |\n|---|---|")
            for name, attack in group.items():
                fault = arena.verify(attack.forward, attack.top)
                past += not fault
                print(f"| {name} | {short(fault) or '**right**'} |", flush=True)
        print("\n| what a candidate does when it is loaded | its trial | the next candidate |\n|---|---|---|")
        for name, top in (LEAVES_BEHIND | HARM).items():
            mine, after = arena.trial(top=top), arena.trial()
            past += after.status is not Status.OK
            print(f"| {name} | {mine.status}: {short(mine.detail)} | {after.status} |", flush=True)
        lazy, honest = (arena.trial(attack.forward).latency_ms for attack in MISTIMED.values())
        past += lazy < honest / 2
        print(f"\nMemory that computes its content when it is first touched: {lazy:.3f} ms; honest: {honest:.3f} ms.")
    print(f"\n{past} got past.")
    return 1 if past else 0


if __name__ == "__main__":
    sys.exit(main())
