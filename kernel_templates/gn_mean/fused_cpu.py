"""Host side of fused_cpu."""

import torch
import torch.nn.functional as F


def fused_cpu(model, kernel, x):
    y = model.conv(x).contiguous()
    n, c = y.shape[:2]
    norm = model.group_norm
    out = torch.empty(n, dtype=y.dtype, device=y.device)
    kernel.launch("gn_mean", y, norm.weight, norm.bias, out, n, c, y[0, 0].numel(), norm.num_groups, norm.eps)
    return out
