"""gn_mean: what comes after the convolution, alone, beside one read of the convolution's output.

    python benchmarks/fused_part.py [CONFIG] [--device auto] [--points 12] [--steps 60] [-o FILE.json]

The convolution of a rendered candidate is replaced by one that returns a tensor computed beforehand; the rest is the
candidate as it ships. Measured are the cached winner (where its variant leaves the convolution to PyTorch), the best
such point of the ledgers in the cache, the default and random points, and from the fastest of them on every single
step of a knob until none is faster; the fastest is reported. Beside it: one read of that tensor at the bandwidth
measured in the same run, and PyTorch's GroupNorm and mean on the same tensor.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tuner import backends, problem, settings, store, template
from tuner.backends import toolchain
from tuner.errors import TunerError
from tuner.measurement.statistics import paired_speedup, summarise
from tuner.measurement.timer import Timer
from tuner.records import Environment, Status, Workload
from tuner.search.ledger import Ledger
from tuner.settings import resolve
from tuner.space import Choice, Point, Space
from tuner.template import Template, render
from tuner.verification.papers import Perturbation

GOAL = 1.3  # reads of the convolution's output
# A bias added in place would change the tensor from call to call; the other two are the convolution's alone.
NARROWED: dict[str, list[Choice]] = {"conv_bias": ["fused"], "cudnn_benchmark": [False], "tf32": [False]}
SAMPLES, ROUNDS = 40, 8
SECONDS = 10.0  # of sampling at most, where one call takes long


class Convolved:
    """`torch` as a candidate's host function sees it, its convolutions replaced by a tensor that is there."""

    def __init__(self) -> None:
        self.output: torch.Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        if name in ("conv3d", "cudnn_convolution"):
            return lambda *arguments: self.output
        return getattr(torch, name)


def fused_part(
    candidate: Path, workload: Workload, state: dict[str, torch.Tensor], x: torch.Tensor
) -> Callable[..., Any]:
    """y -> result: all that the candidate does after its convolution."""
    module = problem.execute(candidate, f"fused_part_{candidate.stem}")
    module.preload()
    convolved = Convolved()
    vars(module)["torch"] = convolved
    model = module.ModelNew(*workload.init).to(x.device)
    model.load_state_dict(state)
    layout = torch.contiguous_format
    if module.KERNELS[0].knobs.get("memory_format") == "channels_last":
        layout = torch.channels_last_3d
    x = x.contiguous(memory_format=layout)  # so that the host has nothing to convert

    def run(y: torch.Tensor) -> torch.Tensor:
        convolved.output = y
        return model(x)  # type: ignore[no-any-return]

    return run


def candidates(
    kernel: Template, space: Space, cache: Path, here: Environment, workload: Workload, count: int
) -> list[Point]:
    """The points to measure, the likeliest ones first."""
    names = [branch.variant for branch in space.branches]
    found: list[Point] = []
    entry = store.get(cache, here.slug, kernel.name, workload.slug)
    if entry is not None:
        found.append(entry.record.point)
    trials = [t for path in sorted((cache / ".runs").glob(f"{kernel.name}-*.jsonl")) for t in Ledger(path).read()]
    trials = [t for t in trials if t.evaluation.status is Status.OK and t.point.variant in names]
    found += [t.point for t in sorted(trials, key=lambda t: t.evaluation.latency_ms)[:3]]
    found = [c for c in found if c.variant in names and space.has(c) and space.rejected_by(c) is None]
    found = list(dict.fromkeys([*found, *space.defaults]))
    rng = random.Random(0)

    def is_new(point: Point) -> bool:
        return point not in found

    for _ in range(count):
        branch = rng.choice(space.branches)
        drawn = Point(branch.variant, tuple((k.name, rng.choice(k.choices)) for k in branch.knobs))
        near = space.nearest(drawn, is_new)
        found += [near] if near is not None else []
    return found


def samples_ms(timer: Timer, call: Callable[..., Any], count: int) -> list[float]:
    timer.sample_ms(call)
    first = timer.sample_ms(call)[0]
    return timer.samples_ms(call, max(3, min(count, int(SECONDS * 1e3 / first))))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    wanted = settings.load(options.config, {"device": options.device})
    kernel = template.find(wanted.template, Path.cwd())
    torch_device = backends.resolve(wanted.device)
    os.environ |= toolchain.environment()
    if torch_device.startswith("cuda"):
        torch.cuda.set_device(torch.device(torch_device))
    workload = resolve.workloads(wanted, resolve.problem_path(wanted, kernel), dict(os.environ))[0]
    here = backends.of(torch_device).environment()
    names = [v.name for v in kernel.variants if v.device == here.device_kind and v.name.startswith("fused")]
    facts = kernel.facts(workload.init, workload.shapes, backends.of(here.device_kind).limits(here))
    space = kernel.space(here.device_kind, facts, names, NARROWED)
    ceilings = backends.of(torch_device).ceilings()

    loaded = problem.load(resolve.problem_path(wanted, kernel))
    reference: Any = problem.reference(loaded, workload, 0).to(torch_device)
    with torch.no_grad():
        for parameter in reference.group_norm.parameters():
            parameter.normal_()
        (x,) = problem.inputs(loaded, workload, 0, torch_device)
        conv = reference.conv
        y = torch.conv3d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        biased = conv.bias.view(-1, 1, 1, 1)
        oracle = torch.cat([_oracle(reference, part + biased) for part in y.split(8)])
        theirs = reference.group_norm(y + biased).mean(dim=[1, 2, 3, 4])
    one_read_ms = y.numel() * y.element_size() / (ceilings["read_gbps"] * 1e9) * 1e3
    timers = {torch.contiguous_format: Timer([y], 0)}
    allowed = max(8 * (theirs.double() - oracle).abs().max().item(), 1e-5)

    def prepared(point: Point, folder: str) -> tuple[Callable[..., Any], Timer] | None:
        """The fused part of a point and what times it; None, and a line, when it is wrong."""
        made = render.for_point(kernel, point, workload, here)
        path = Path(folder, f"{made.sha256}.py")
        path.write_text(made.text)
        call = fused_part(path, workload, reference.state_dict(), x)
        layout = torch.contiguous_format
        if point.knobs.get("memory_format") == "channels_last":
            layout = torch.channels_last_3d
        if layout not in timers:
            timers[layout] = LastTimer([y], 0)
        with torch.no_grad():
            error = (call(y.contiguous(memory_format=layout)).double() - oracle).abs().max().item()
        if not error <= allowed:
            print(f"{point}: wrong, error {error:.3g}, allowed {allowed:.3g}", file=sys.stderr)
            return None
        return call, timers[layout]

    times: dict[Point, float] = {}

    def time_ms(point: Point, folder: str) -> float:
        """The median of a point, measured once; infinite when it is wrong."""
        if point not in times:
            ready = prepared(point, folder)
            times[point] = math.inf if ready is None else summarise(samples_ms(ready[1], ready[0], 7)).latency_ms
            print(f"{times[point]:9.4f} ms  {point}", file=sys.stderr, flush=True)
        return times[point]

    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCH_EXTENSIONS_DIR"] = folder
        for point in candidates(kernel, space, settings.cache_root(options.config), here, workload, options.points):
            time_ms(point, folder)
        known = len(times)
        moved = True
        while moved:
            best = min(times, key=lambda c: times[c])
            for step in space.neighbours(best):
                if len(times) - known < options.steps and space.rejected_by(step) is None:
                    time_ms(step, folder)
            moved = times[min(times, key=lambda c: times[c])] < times[best]
        point = min(times, key=lambda c: times[c])
        ready = prepared(point, folder)
        if ready is None:
            raise TunerError(f"{kernel.name}: no point was right")
        call, timer = ready

        def chain(y: torch.Tensor) -> Any:
            return reference.group_norm(y).mean(dim=[1, 2, 3, 4])

        ours: list[float] = []
        pytorch: list[float] = []
        rounds: list[int] = []
        for _ in range(ROUNDS):  # interleaved
            mine = samples_ms(timer, call, SAMPLES // ROUNDS)
            chained = samples_ms(timers[torch.contiguous_format], chain, SAMPLES // ROUNDS)
            taken = min(len(mine), len(chained))
            ours, pytorch, rounds = ours + mine[:taken], pytorch + chained[:taken], [*rounds, taken]
    speedup, low, high = paired_speedup(ours, pytorch, rounds)
    return {
        "environment": here.model_dump(mode="json"),
        "tensor": list(y.shape),
        "megabytes": y.numel() * y.element_size() / 1e6,
        "ceilings": ceilings,
        "one_read_ms": one_read_ms,
        "point": {"variant": point.variant, "knobs": point.knobs},
        "fused": summarise(ours).model_dump(),
        "pytorch": summarise(pytorch).model_dump(),
        "reads": summarise(ours).latency_ms / one_read_ms,
        "speedup": [speedup, low, high],
    }


class LastTimer(Timer):
    """A `Timer` that hands channels-last tensors to what it times."""

    def __init__(self, inputs: list[torch.Tensor], seed: int) -> None:
        super().__init__(inputs, seed)
        self.last = [x.contiguous(memory_format=torch.channels_last_3d) for x in inputs]

    def refresh(self, by: Perturbation | None = None) -> None:
        super().refresh(by)
        for mine, x in zip(self.last, self.given, strict=True):
            mine.copy_(x)

    def sample_ms(self, model: Callable[..., Any], by: Perturbation | None = None) -> tuple[float, Any]:
        return super().sample_ms(lambda *given: model(*self.last), by)


def _oracle(reference: Any, y: torch.Tensor) -> torch.Tensor:
    norm = reference.group_norm
    z = torch.nn.functional.group_norm(y.double(), norm.num_groups, norm.weight.double(), norm.bias.double(), norm.eps)
    return z.mean(dim=[1, 2, 3, 4])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path, default=Path(__file__).parent.parent / "configs/gn_mean.yaml")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu; default: the config's")
    parser.add_argument("--points", type=int, default=12, help="random points beside those that are known")
    parser.add_argument("--steps", type=int, default=60, help="points of the walk from the fastest of them")
    parser.add_argument("-o", "--output", type=Path, help="also as JSON")
    options = parser.parse_args()
    try:
        found = measure(options)
    except TunerError as error:
        print(f"fused_part: {error}", file=sys.stderr)
        return 2
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    fused, pytorch = found["fused"], found["pytorch"]
    speedup, low, high = found["speedup"]
    knobs = " ".join(f"{name}={value}" for name, value in found["point"]["knobs"].items())
    shape = "x".join(map(str, found["tensor"]))
    print(f"gn_mean after the convolution, output {shape} ({found['megabytes']:.0f} MB), "
          f"{found['environment']['device_name']}\n")  # fmt: skip
    print("| | ms | quartiles | reads of the output |\n|---|---|---|---|")
    print(f"| one read at {found['ceilings']['read_gbps']:.4g} GB/s | {found['one_read_ms']:.4g} | | 1 |")
    for name, times in (("fused", fused), ("PyTorch's GroupNorm and mean", pytorch)):
        print(f"| {name} | {times['latency_ms']:.4g} | {times['q25_ms']:.4g} to {times['q75_ms']:.4g} "
              f"| {times['latency_ms'] / found['one_read_ms']:.2f} |")  # fmt: skip
    print(f"\nFused over PyTorch: {speedup:.2f} [{low:.2f}, {high:.2f}]; {found['point']['variant']} {knobs}")
    if found["environment"]["device_kind"] == "cuda":
        reached = math.isfinite(found["reads"]) and found["reads"] <= GOAL
        print(f"Goal: at most {GOAL} reads: {'reached' if reached else 'not reached'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
