"""Problem files: the reference, its inputs and the sizes that it takes."""

from tuner.problem.file import (
    Problem,
    check,
    default_workload,
    execute,
    forward,
    inputs,
    load,
    reference,
)

__all__ = [
    "Problem",
    "check",
    "default_workload",
    "execute",
    "forward",
    "inputs",
    "load",
    "reference",
]
