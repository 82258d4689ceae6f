"""Problem files: the reference, its inputs and the sizes that it takes."""

from tuner.problem.file import (
    Problem,
    alike,
    construct,
    default_workload,
    definition,
    execute,
    forward,
    inputs,
    load,
    place,
    reference,
    require_parameters,
    require_takes,
)
from tuner.problem.results import structure_of, tensors_of

__all__ = [
    "Problem",
    "alike",
    "construct",
    "default_workload",
    "definition",
    "execute",
    "forward",
    "inputs",
    "load",
    "place",
    "reference",
    "require_parameters",
    "require_takes",
    "structure_of",
    "tensors_of",
]
