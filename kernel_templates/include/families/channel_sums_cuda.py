"""Host side of channel_sums.cuh: the convolution by cuDNN, then one read of its output.

Its sources export channel_sums; `model.result(x)`, of the template's model_new.py, is room for the result.
"""

import torch


def channel_sums_cuda(model, kernel, x):
    conv, norm, knobs = model.conv, model.group_norm, kernel.knobs
    if x.dim() != 5:
        raise RuntimeError(f"{kernel.name} takes an input (N, in_channels, D, H, W), not {tuple(x.shape)}")
    cudnn = torch.backends.cudnn
    channels_last = knobs["memory_format"] == "channels_last"
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    y = torch.cudnn_convolution(
        x.contiguous(memory_format=layout),
        conv.weight.contiguous(memory_format=layout),
        conv.padding,
        conv.stride,
        conv.dilation,
        conv.groups,
        knobs["cudnn_benchmark"],
        cudnn.deterministic,
        knobs["tf32"] and cudnn.allow_tf32,
    )
    fused_bias = knobs["conv_bias"] == "fused"
    if conv.bias is not None and not fused_bias:
        y.add_(conv.bias.view(-1, 1, 1, 1))
    y = y.contiguous(memory_format=layout)  # what cuDNN returns already, as a rule
    n, c, groups = y.shape[0], y.shape[1], norm.num_groups
    s = y.shape[2] * y.shape[3] * y.shape[4]
    if channels_last:  # a slice holds a full set of loads
        whole = knobs["block_size"] * knobs["unroll"] * knobs["vector_width"]
        slices = max(1, min(groups * knobs["blocks_per_group"], c * s // whole))
    else:
        slices = -(-knobs["blocks_per_group"] * groups // c)
    out = model.result(y)
    partial = torch.empty(n * c * slices * 2, dtype=torch.float64, device=y.device)
    arrived = torch.empty(n, dtype=torch.int32, device=y.device) if knobs["finish"] == "last_block" else None
    kernel.launch(
        "channel_sums",
        y,
        aligned(conv.bias, 4) if fused_bias else None,  # `aligned` is of the candidate's runtime
        aligned(norm.weight, 4),
        aligned(norm.bias, 4),
        out,
        partial,
        arrived,
        n,
        c,
        s,
        groups,
        slices,
        norm.eps,
    )
    return out
