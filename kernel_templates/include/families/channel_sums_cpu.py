"""Host side of channel_sums.hpp: the convolution by PyTorch, then one read of its output.

Its sources export channel_sums; `model.result(x)`, of the template's model_new.py, is room for the result.
"""

import torch


def channel_sums_cpu(model, kernel, x):
    conv, norm, knobs = model.conv, model.group_norm, kernel.knobs
    if x.dim() != 5:
        raise RuntimeError(f"{kernel.name} takes an input (N, in_channels, D, H, W), not {tuple(x.shape)}")
    layout = torch.channels_last_3d if knobs["memory_format"] == "channels_last" else torch.contiguous_format
    fused_bias = knobs["conv_bias"] == "fused"
    y = torch.conv3d(
        x.contiguous(memory_format=layout),
        conv.weight.contiguous(memory_format=layout),
        None if fused_bias else conv.bias,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )
    y = y.contiguous(memory_format=layout)  # what the convolution returns already, as a rule
    n, c = y.shape[0], y.shape[1]
    s = y.shape[2] * y.shape[3] * y.shape[4]
    out = model.result(y)
    kernel.launch(
        "channel_sums",
        y,
        aligned(conv.bias, 4) if fused_bias else None,  # `aligned` is of the candidate's runtime
        aligned(norm.weight, 4),
        aligned(norm.bias, 4),
        out,
        n,
        c,
        s,
        norm.num_groups,
        norm.eps,
    )
    return out
