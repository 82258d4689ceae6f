"""Host side: allocates the result and calls the C function. `aligned` and `kernel.launch` are the candidate's own."""

import torch


def rows(model, kernel, x):
    if x.dim() == 0:
        raise RuntimeError("rows takes an input of at least one dimension")
    x = aligned(x)  # contiguous, at a multiple of 16 bytes
    out = torch.empty_like(x)
    if x.numel() > 0:
        kernel.launch("softmax", x, out, x.numel() // x.shape[-1], x.shape[-1])
    return out
