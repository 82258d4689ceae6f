"""How well the verification suite judges: mutants, honest models and tricks, for each problem.

    python benchmarks/verification.py [--device cuda] [--full] [PROBLEM ...]

Mutants and honest models go through all cases on a small workload (with --full: on
the problem's own, with few samples), tricks through a whole trial on a CPU.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch
from tricks import CONTROL, SMALL, TRICKS, UNCAUGHT, Court, problem_path, workload

from tuner import problem
from tuner.records import Status
from tuner.verification.self_check import self_check


def tricks(name: str) -> tuple[list[str], bool]:
    """Tricks that passed a trial, those known to among them, and whether the control did."""
    kept = time.perf_counter, torch.cuda.Event, torch.equal
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        court = Court(name, Path(folder))
        for trick, body in [*((trick, body) for trick, (body, _) in TRICKS.items()), *UNCAUGHT.items()]:
            try:
                if court.trial(body)[0].status is Status.OK:
                    missed.append(trick)
            finally:
                time.perf_counter, torch.cuda.Event, torch.equal = kept  # type: ignore[misc]
        control = court.trial(CONTROL)[0].status is Status.OK
    return missed, control


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", nargs="*", default=list(SMALL), metavar="PROBLEM")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full", action="store_true", help="the problem's own sizes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.machine()
    print(f"PyTorch {torch.__version__}, {options.device} ({where}), seed {options.seed}\n")
    print("| problem | mutants caught | honest passed | tricks caught | control | seconds |")
    print("|---|---|---|---|---|---|")
    faults, notes = [], []
    for name in options.problems:
        began = time.perf_counter()
        loaded = problem.load(problem_path(name))
        wanted = problem.default_workload(loaded) if options.full else workload(name)
        found = self_check(loaded, wanted, options.device, options.seed)
        missed, control = tricks(name)
        caught, mutants = len(found.caught), len(found.caught) + len(found.missed)
        all_tricks = len(TRICKS) + len(UNCAUGHT)
        honest = len(found.passed) + len(found.refused)
        print(
            f"| {name} | {caught} of {mutants} | {len(found.passed)} of {honest} "
            f"| {all_tricks - len(missed)} of {all_tricks} | {'passed' if control else 'REFUSED'} "
            f"| {time.perf_counter() - began:.0f} |"
        )
        notes += [f"{name}: {mutant} left out: {reason}" for mutant, reason in found.left_out.items()]
        later = [f"{mutant} ({case[:40]})" for mutant, case in found.caught.items() if case[0] not in "ABCD"]
        notes += [f"{name}: caught only after the cases A to D: {', '.join(later)}"] if later else []
        notes += [f"{name}: not caught, as is known: {trick}" for trick in missed if trick in UNCAUGHT]
        unexpected = [*found.missed, *(trick for trick in missed if trick not in UNCAUGHT)]
        faults += [f"{name}: {mutant} was not caught" for mutant in unexpected]
        faults += [f"{name}: {model} was refused: {case}" for model, case in found.refused.items()]
        faults += [] if control else [f"{name}: the control of the tricks was refused"]
    print()
    for line in notes + faults:
        print(line)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
