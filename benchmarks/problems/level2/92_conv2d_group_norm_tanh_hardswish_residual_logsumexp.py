"""Conv2d -> GroupNorm -> tanh -> hardswish -> plus the convolution -> logsumexp over the channels."""

import torch
import torch.nn as nn

batch_size = 128
in_channels = 8
out_channels = 64
height, width = 128, 128
kernel_size = 3
groups = 16


class Model(nn.Module):
    """x (N, in_channels, H, W) -> (N, 1, H - k + 1, W - k + 1)."""

    def __init__(self, in_channels, out_channels, kernel_size, groups):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.norm = nn.GroupNorm(groups, out_channels)
        self.tanh = nn.Tanh()
        self.hard_swish = nn.Hardswish()

    def forward(self, x):
        x_conv = self.conv(x)
        x = self.norm(x_conv)
        x = self.tanh(x)
        x = self.hard_swish(x)
        x = x_conv + x
        return torch.logsumexp(x, dim=1, keepdim=True)


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, groups]
