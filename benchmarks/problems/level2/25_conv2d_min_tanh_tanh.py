"""Conv2d -> minimum over the channels -> tanh, twice."""

import torch
import torch.nn as nn

batch_size = 128
in_channels = 16
out_channels = 64
height, width = 256, 256
kernel_size = 3


class Model(nn.Module):
    """x (N, in_channels, H, W) -> (N, 1, H - k + 1, W - k + 1)."""

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)

    def forward(self, x):
        x = self.conv(x)
        x = torch.min(x, dim=1, keepdim=True)[0]
        x = torch.tanh(x)
        return torch.tanh(x)


def get_inputs():
    return [torch.rand(batch_size, in_channels, height, width)]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size]
