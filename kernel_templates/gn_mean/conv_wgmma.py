"""Host side of conv_wgmma."""

import torch


def conv_wgmma(model, kernel, x):
    weight, bias, norm = model.conv.weight, model.conv.bias, model.group_norm
    x, (n, channels, *sizes) = aligned(x), x.shape
    out_channels, taps = weight.shape[0], weight.shape[2]
    if channels != weight.shape[1] or min(sizes) < taps:
        raise RuntimeError(f"conv_wgmma: input {tuple(x.shape)} does not suit weight {tuple(weight.shape)}")
    planes, rows = sizes[0] - taps + 1, sizes[1] - taps + 1
    tile_d, tile_h = min(kernel.knobs["tile_d"], planes), min(kernel.knobs["tile_h"], rows)
    slots = -(-planes // tile_d) * -(-rows // tile_h)
    bias = None if bias is None else aligned(bias)
    out = torch.empty(n, device=x.device)
    moments = torch.empty(n, out_channels, slots, 2, dtype=torch.float64, device=x.device)
    if n > 0:
        kernel.launch(
            "conv_wgmma", x, aligned(weight), bias, aligned(norm.weight), aligned(norm.bias),
            out, moments, n, channels, out_channels, taps, *sizes, tile_d, tile_h, norm.num_groups, norm.eps,
        )
    return out
