"""Max pooling with windows that overlap."""

import torch
import torch.nn as nn

batch_size = 32
channels = 64
height, width = 512, 512
kernel_size = 4
stride = 1
padding = 1
dilation = 1


class Model(nn.Module):
    """x (N, C, H, W) -> (N, C, H - 1, W - 1)."""

    def __init__(self, kernel_size, stride, padding, dilation):
        super().__init__()
        self.maxpool = nn.MaxPool2d(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)

    def forward(self, x):
        return self.maxpool(x)


def get_inputs():
    return [torch.rand(batch_size, channels, height, width)]


def get_init_inputs():
    return [kernel_size, stride, padding, dilation]
