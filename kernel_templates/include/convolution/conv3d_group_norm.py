"""Host side of the convolutions on the GPU that keep only statistics of their output: conv3d_mma, _wgmma and _simt.

Their sources export conv3d_group_norm; `model.result(x)`, of the template's model_new.py, is room for the result.
"""

import torch


def conv3d_group_norm(model, kernel, x):
    weight, bias, norm = model.conv.weight, model.conv.bias, model.group_norm
    out_channels, in_channels, taps, *_ = weight.shape
    if x.dim() != 5 or x.shape[1] != in_channels or min(x.shape[2:]) < taps:
        raise RuntimeError(f"{kernel.name}: input {tuple(x.shape)} does not suit weight {tuple(weight.shape)}")
    x, (n, _, *sizes) = aligned(x), x.shape
    planes, rows = sizes[0] - taps + 1, sizes[1] - taps + 1
    tile_d, tile_h = min(kernel.knobs["tile_d"], planes), min(kernel.knobs["tile_h"], rows)
    slots = -(-planes // tile_d) * -(-rows // tile_h)
    out = model.result(x)
    moments = torch.empty(n, out_channels, slots, 2, dtype=torch.float64, device=x.device)
    if n > 0:
        kernel.launch(
            "conv3d_group_norm", x, aligned(weight), aligned(bias), aligned(norm.weight), aligned(norm.bias),
            out, moments, n, in_channels, out_channels, taps, *sizes, tile_d, tile_h, norm.num_groups, norm.eps,
        )
    return out
