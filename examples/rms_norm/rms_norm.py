"""Host side of both variants: allocates the result and calls the C function."""

import torch


def rms_norm(model, kernel, x):
    weight = model.weight
    if x.dim() == 0 or x.shape[-1] != weight.numel():
        raise RuntimeError(f"rms_norm takes an input (..., {weight.numel()}), not {tuple(x.shape)}")
    x = aligned(x)
    out = torch.empty_like(x)
    if x.numel() > 0:
        kernel.launch("rms_norm", x, aligned(weight), out, x.numel() // x.shape[-1], x.shape[-1], model.eps)
    return out
