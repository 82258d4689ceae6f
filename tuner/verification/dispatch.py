"""Looking at the operators that PyTorch dispatches."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that does not import torch._dynamo when it is first used: that takes longer than a trial."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
