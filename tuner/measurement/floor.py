"""The physical floor of a workload: the least time that the device's ceilings allow."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from tuner import problem
from tuner.backends import Backend
from tuner.problem import Problem
from tuner.records import Floor, Workload


def floor(loaded: Problem, workload: Workload, ceilings: dict[str, float], backend: Backend) -> Floor:
    """The floor of a workload on a device with these ceilings.

    Bytes: every input and parameter read once, the result written once, over the
    read bandwidth; 0 ms where the device's caches may hold them all. Operations: what
    PyTorch's FlopCounterMode counts for the reference, over the fastest rate measured
    for any precision: a kernel may split its operands, so no slower rate would be a floor.
    """
    with torch.no_grad(), torch.device("meta"):
        model = problem.reference(loaded, workload, 0)
        fake = [torch.empty(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in workload.inputs]
        with FlopCounterMode(display=False) as counter:
            result = model(*fake)
    moved = sum(
        t.numel() * t.element_size() for t in [*fake, *model.state_dict().values(), *problem.tensors_of(result)]
    )
    flops = counter.get_total_flops()
    fastest = max(rate for name, rate in ceilings.items() if name.endswith("tflops"))
    return Floor(
        bytes=moved,
        flops=flops,
        memory_ms=0.0 if moved < backend.cache_bytes else moved / (ceilings["read_gbps"] * 1e9) * 1e3,
        compute_ms=flops / (fastest * 1e12) * 1e3,
        ceilings=ceilings,
    )
