"""Problem files: the reference, its inputs and the sizes that it takes."""

from tuner.problem.file import (
    Problem,
    default_workload,
    execute,
    forward,
    inputs,
    load,
    reference,
    require_takes,
)

__all__ = [
    "Problem",
    "default_workload",
    "execute",
    "forward",
    "inputs",
    "load",
    "reference",
    "require_takes",
]
