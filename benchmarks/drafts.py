"""The drafts of a folder's problems on a GPU, without a search: right, and how fast with which choice of the libraries.

    python benchmarks/drafts.py benchmarks/problems/level2 [--only 22,25] [--output FILE] [--stop-after 240]

Each problem is traced and drafted, and every variant is compiled with its kernels' knobs at their defaults. Knobs that
the source does not mention (a convolution's layout and algorithm, a product's scheme) share that binary: all their
combinations are run, each against eager on the problem's own inputs. A row says what the defaults take, what the best
combination takes and how far it lies from eager, as a share of eager's largest value. Times are medians of CUDA events
over a few forwards with a warm L2; they order choices, and are no result of a search: nothing here is verified by the
suite, no knob of a kernel is searched, and no other baseline than eager is timed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

WIDEST = 32  # combinations of a variant
AWAY = 1e-3  # of eager's largest value: more is said to differ


@dataclass
class Row:
    """One problem. Times in ms; `difference` is the best combination's; `choice` says which that is; `each` has all."""

    problem: str
    eager: float = math.nan
    first: float = math.nan
    best: float = math.nan
    difference: float = math.nan
    choice: str = ""
    each: dict[str, float] = field(default_factory=dict)
    kernels: int = 0
    fault: str = ""

    @property
    def over_eager(self) -> float:
        return self.eager / self.best


def prepare(problem: Path, folder: Path, limits: dict[str, Any]) -> tuple[int, list[list[Path]], str]:
    """Draft a problem and compile its variants. The number of kernels, the candidates of each variant, and a fault."""
    from tuner import problem as problems
    from tuner import template
    from tuner.drafting.trace import trace
    from tuner.drafting.tracer import Traced
    from tuner.drafting.write import draft
    from tuner.template.render import Tuned, candidate

    try:
        loaded = problems.load(problem)
        workload = problems.default_workload(loaded)
        made = draft(folder.name, Traced(trace(loaded, workload), None, (), ()), workload, problem.read_text())
        folder.mkdir(parents=True)
        for name, text in {**made.files, "problem.py": problem.read_text()}.items():
            (folder / name).write_text(text)
        mine = template.load(folder)
        facts = mine.facts(workload.init, workload.shapes, limits)
        variants = []
        for first in mine.space("cuda", facts, dtypes=workload.dtypes).defaults:
            variant = mine.variant(first.variant)
            files = []
            for number, point in enumerate(combinations(folder, variant, first, facts)):
                tuned = Tuned(point, workload.shapes, workload.dtype, "", "match", workload.each_dtype)
                file = folder / f"{variant.name}_{number}.py"
                file.write_text(candidate(mine, [tuned]).text)
                files.append(file)
            load(files[0], f"{folder.name}_{variant.name}").preload(limits["capability"])
            variants.append(files)
        return made.kernels, variants, ""
    except Exception as error:
        return 0, [], f"{type(error).__name__}: {error}".splitlines()[0]


def combinations(folder: Path, variant: Any, first: Any, facts: Any) -> list[Any]:
    """Points that differ in what the source does not mention; the default is the first."""
    from tuner.space import Point
    from tuner.template.shared import inline_includes

    text = inline_includes(folder / variant.source)
    free = [knob for knob in variant.knobs if not re.search(rf"\b{knob.name.upper()}\b", text)]
    found = [first]
    for values in itertools.product(*(knob.choices for knob in free)):
        changed = dict(first.values) | {knob.name: value for knob, value in zip(free, values, strict=True)}
        point = Point(variant.name, tuple((knob.name, changed[knob.name]) for knob in variant.knobs))
        knobs = type("Knobs", (), changed)
        if point != first and all(rule.allows(knobs, facts) for rule in variant.constraints):
            found.append(point)
    return found[:WIDEST]


def load(file: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def milliseconds(forward: Any, count: int) -> float:
    """The median of `count` forwards after one."""
    import torch

    forward()
    times = []
    for _ in range(count):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        forward()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return float(statistics.median(times))


def measure(problem: Path, name: str, kernels: int, variants: list[list[Path]]) -> Row:
    """Eager and every candidate, one after the other, on this process's GPU."""
    import torch

    row = Row(name, kernels=kernels)
    module = load(problem, f"problem_{problem.stem}")
    with torch.device("cuda"):
        torch.manual_seed(0)
        model = module.Model(*module.get_init_inputs()).cuda()
        inputs = [x.cuda() for x in module.get_inputs()]
    state = {path: value.clone() for path, value in model.state_dict().items()}
    with torch.no_grad():
        row.eager = milliseconds(lambda: model(*inputs), 5)
        model.load_state_dict(state)
        wanted = model(*inputs)
        largest = float(wanted.abs().max())
        for file in itertools.chain.from_iterable(itertools.zip_longest(*variants)):
            if file is None:
                continue
            try:
                with torch.device("cuda"):
                    new = load(file, file.stem).ModelNew(*module.get_init_inputs()).cuda()
                new.load_state_dict(state)
                away = float((new(*inputs).float() - wanted.float()).abs().max()) / max(largest, 1e-30)
                taken = milliseconds(lambda new=new: new(*inputs), 1)
                if taken < 1.5 * (row.best if row.best == row.best else math.inf):
                    taken = milliseconds(lambda new=new: new(*inputs), 5)
            except Exception as error:
                row.fault = row.fault or f"{file.stem}: {str(error).splitlines()[0][:100]}"
                continue
            if away > AWAY:
                row.fault = row.fault or f"{file.stem} differs by {away:.1e}"
                continue
            row.each[file.stem] = taken
            if file.stem.endswith("_0") and not taken >= row.first:
                row.first = taken
            if not taken >= row.best:
                row.best, row.difference, row.choice = taken, away, file.stem
    choices = {file.stem: choice for files in variants for file, choice in zip(files, choices_of(files), strict=True)}
    row.each = {choices[stem]: taken for stem, taken in row.each.items()}
    row.choice = choices.get(row.choice, "")
    return row


def choices_of(files: list[Path]) -> list[str]:
    """What the candidates of a variant differ in: its name and those knobs, as they stand in their texts."""
    found = [re.search(r"knobs=\{(.*?)\}", file.read_text()) for file in files]
    knobs = [match[1].split(", ") if match else [] for match in found]
    shared = set(knobs[0]).intersection(*knobs)
    variant = files[0].stem.rpartition("_")[0]
    return [" ".join([variant, *(knob for knob in mine if knob not in shared)]) for mine in knobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", help="numbers of problems, separated by commas")
    parser.add_argument("--output", type=Path, help="without ending")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds")
    asked = parser.parse_args()
    began = time.monotonic()
    import torch

    from tuner.backends.cuda import shared_memory_per_block

    if not torch.cuda.is_available():
        parser.error("needs a CUDA device")
    properties = torch.cuda.get_device_properties(0)
    capability = torch.cuda.get_device_capability()
    limits = {
        "cores": properties.multi_processor_count, "shared_memory_per_block": shared_memory_per_block(capability),
        "capability": capability, "device": "cuda",
    }  # fmt: skip
    wanted = set(asked.only.split(",")) if asked.only else None
    files = [file for folder in asked.folders for file in sorted(folder.glob("*.py"))]
    files = [file for file in files if wanted is None or file.name.partition("_")[0] in wanted]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["TORCH_EXTENSIONS_DIR"] = f"{place}/built"
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "{}.{}a".format(*capability))
        workers = max(1, (os.cpu_count() or 2) - 2)
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
            jobs = []
            for number, file in enumerate(files):
                folder = Path(place) / f"p{number}_{re.sub(r'[^A-Za-z0-9]+', '_', file.stem).lower()}"
                jobs.append((file, pool.submit(prepare, file, folder, limits)))
            for file, job in jobs:
                name = f"{file.parent.name}/{file.stem}"
                if time.monotonic() - began > asked.stop_after:
                    print(f"stopped before {name}", flush=True)
                    break
                kernels, variants, fault = job.result()
                row = measure(file, name, kernels, variants) if variants else Row(name, fault=fault)
                rows.append(row)
                print(line(row), flush=True)
                torch.cuda.empty_cache()
            pool.shutdown(cancel_futures=True)
    print(summary(rows, properties.name))
    if asked.output is not None:
        asked.output.with_suffix(".md").write_text(table(rows, properties.name))
        asked.output.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def line(row: Row) -> str:
    cells = [row.problem, str(row.kernels), *(f"{x:.3f}" for x in (row.eager, row.first, row.best))]
    return "| " + " | ".join([*cells, f"{row.over_eager:.2f}", f"{row.difference:.0e}", row.fault]) + " |"


def summary(rows: list[Row], device: str) -> str:
    """How many are right, and how fast in the geometric mean, of all and of each folder."""
    lines = []
    for folder in ["", *dict.fromkeys(row.problem.partition("/")[0] for row in rows)]:
        mine = [row for row in rows if row.problem.startswith(folder)]
        right = [row for row in mine if row.best == row.best]
        first = mean(row.eager / row.first for row in right)
        lines.append(
            f"{folder or device}: {len(right)} of {len(mine)} right; over eager, geometric mean: "
            f"{mean(row.over_eager for row in right):.2f} with the best combination, {first:.2f} at the defaults"
        )
    return "\n\n".join(lines)


def mean(ratios: Iterable[float]) -> float:
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(statistics.fmean(logs)) if logs else math.nan


def table(rows: list[Row], device: str) -> str:
    head = "| problem | kernels | eager, ms | defaults, ms | best, ms | over eager | difference | fault |\n"
    return f"{summary(rows, device)}\n\n{head}|{'---|' * 8}\n" + "".join(f"{line(row)}\n" for row in rows)


if __name__ == "__main__":
    main()
