"""Host side of fused_cpu."""

import torch


def fused_cpu(model, kernel, x):
    """x (N, in_channels, D, H, W) -> (N, out_channels, D + k - 1, H + k - 1, W + k - 1), contiguous."""
    conv, norm, knobs = model.conv_transpose, model.group_norm, kernel.knobs
    if x.dim() != 5:
        raise RuntimeError(f"fused_cpu takes an input (N, in_channels, D, H, W), not {tuple(x.shape)}")
    layout = torch.channels_last_3d if knobs["memory_format"] == "channels_last" else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    if knobs["conv"] == "flipped":
        weight = conv.weight.flip(2, 3, 4).transpose(0, 1).contiguous(memory_format=layout)
        y = torch.conv3d(x, weight, conv.bias, padding=[k - 1 for k in weight.shape[2:]])
    else:
        y = torch.conv_transpose3d(x, conv.weight.contiguous(memory_format=layout), conv.bias)
    y = y.contiguous(memory_format=layout)  # what the convolution returns already, as a rule
    result = y if knobs["in_place"] else torch.empty(y.shape, dtype=y.dtype, device=y.device)
    n, c, *sizes = y.shape
    kernel.launch(
        f"normalise_{knobs['memory_format']}",
        y,
        result,
        aligned(norm.weight, 4),
        aligned(norm.bias, 4),
        n,
        c,
        math.prod(sizes),
        norm.num_groups,
        norm.eps,
    )
    return result
