"""Looking at the operators that PyTorch dispatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that does not import torch._dynamo when it is first used: that takes longer than a trial."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors among an operator's arguments or results, those in lists and tuples as well."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_in(one)
