"""Problem files that name a GPU for their inputs (`device="cuda"`), where there is none or no values are wanted."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class OnGpu(TorchFunctionMode):
    """While it is entered, what names a GPU is made on `device` instead."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            return args[0].to(self.device)
        return func(*map(self._here, args), **{name: self._here(given) for name, given in (kwargs or {}).items()})

    def _here(self, given: Any) -> Any:
        is_gpu = isinstance(given, str | torch.device) and re.fullmatch(r"cuda(:\d+)?", str(given))
        return self.device if is_gpu else given
