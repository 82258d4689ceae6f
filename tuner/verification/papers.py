"""What passes between the process that judges and the one that runs a candidate. Light: no torch.

A candidate's process gets papers and gives answers. A paper says parameter values and inputs; it
names no case, no expectation and no tolerance. What is given back is described here; the bytes lie
in files whose names the main process chose.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from tuner.records import Workload


@dataclass(frozen=True)
class TensorFile:
    """A tensor in a file, as it is to lie in memory: strides and offset in elements.

    Of a tensor in memory that a device shares the file is empty; its path tells them apart.
    """

    path: Path
    dtype: str  # "float32"
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    nbytes: int  # from its storage's beginning to its last element
    shared: str = ""  # where on the device, in the words of its backend; "" for a file


@dataclass(frozen=True)
class Construction:
    """How a candidate's model is built: as KernelBench does, its parameters drawn from `seed`."""

    workload: Workload
    seed: int
    training: bool | None = None  # the mode that it is set to; None: as its constructor leaves it


@dataclass(frozen=True)
class Paper:
    """One question: build the model, load `state`, call it on `inputs`."""

    construction: Construction
    state: dict[str, TensorFile]
    inputs: tuple[TensorFile, ...]
    repeat: bool = False  # also whether the same call gives the same bits, in memory of its own


@dataclass(frozen=True)
class Perturbation:
    """New values from known ones: every element moved on by `shift` of the way round, floats times `factor`."""

    shift: float  # in (0, 1)
    factor: float


@dataclass(frozen=True)
class TimedPaper:
    """Values that forwards are timed on; `uneven` are the same with scales that differ from sample to sample."""

    construction: Construction
    state: dict[str, TensorFile]
    inputs: tuple[TensorFile, ...]
    uneven: tuple[TensorFile, ...]


class Values(enum.StrEnum):
    """Which values forwards run on."""

    FRESH = "fresh"  # each on new ones; no answer is kept
    MARKED = "marked"  # the same; answers are given, and some of them, picked in secret, are marked
    REPEATED = "repeated"  # few values again and again; many answers are given and marked


@dataclass(frozen=True)
class Plan:
    """The values of forwards, and which of their answers are to be given; which of these are marked is a secret."""

    values: tuple[Perturbation, ...]
    keep: tuple[int, ...] = ()
    answer_sizes: tuple[int, ...] = ()  # the bytes of each result of a right answer

    @property
    def answer_bytes(self) -> int:
        """How large a right answer is."""
        return sum(self.answer_sizes)


@dataclass(frozen=True)
class GivenTensor:
    """A plain tensor that was given; its bytes, contiguous, lie in a file or in memory that a device shares."""

    dtype: str
    shape: tuple[int, ...]
    device: str
    shared: str = ""  # where on the device, in the words of its backend; "" for a file


@dataclass(frozen=True)
class GivenAnswer:
    """The answer of one forward: how its tensors are nested, the tensors, and the model's buffers after it."""

    structure: str
    tensors: tuple[GivenTensor, ...]
    buffers: dict[str, GivenTensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Sitting:
    """What became of one paper. Without `fault` and `raised`, every answer that was asked for is there."""

    answers: tuple[GivenAnswer, ...] = ()
    work: dict[str, int] = field(default_factory=dict)  # elements that operators of PyTorch were given
    fault: str = ""  # what was done beside answering
    raised: str = ""  # what was raised instead of an answer
    refused: bool = False  # by an exception that may be an answer, on a device that still works
