"""A convolution, then tanh, a scale, a bias of each channel and the maximum of 2 x 2 positions."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, scale, pool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.bias = nn.Parameter(torch.randn(out_channels, 1, 1))
        self.pool = nn.MaxPool2d(pool)
        self.scale = scale

    def forward(self, x):
        return self.pool(torch.tanh(self.conv(x)) * self.scale + self.bias)


def get_inputs():
    return [torch.rand(16, 8, 64, 64)]


def get_init_inputs():
    return [8, 32, 3, 2.0, 2]
