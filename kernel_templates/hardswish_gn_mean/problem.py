"""Conv3d -> hardswish -> GroupNorm -> mean over the spatial dimensions."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    """x (N, in_channels, D, H, W) -> (N, out_channels)."""

    def __init__(self, in_channels, out_channels, kernel_size, num_groups=4, bias=True):
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, bias=bias)
        self.group_norm = nn.GroupNorm(num_groups, out_channels)

    def forward(self, x):
        x = self.conv(x)
        x = F.hardswish(x)
        x = self.group_norm(x)
        return x.mean(dim=[2, 3, 4])


batch_size = 1024
in_channels = 3
out_channels = 16
kernel_size = 4
depth, height, width = 16, 32, 32


def get_inputs():
    return [torch.rand(batch_size, in_channels, depth, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size]
