"""ConvTranspose3d -> plus a second input -> times its own hardswish."""

import torch
import torch.nn as nn
import torch.nn.functional as F

batch_size = 128
in_channels = 32
out_channels = 64
depth, height, width = 16, 16, 16
kernel_size = 3
stride = 2
padding = 1
output_padding = 1


class Model(nn.Module):
    """x (N, in_channels, D, H, W), add_input (N, out_channels, 2 D, 2 H, 2 W) -> like add_input."""

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, output_padding):
        super().__init__()
        self.conv_transpose = nn.ConvTranspose3d(
            in_channels, out_channels, kernel_size, stride, padding, output_padding
        )

    def forward(self, x, add_input):
        x = self.conv_transpose(x)
        x = x + add_input
        return x * F.hardswish(x)


def get_inputs():
    return [
        torch.rand(batch_size, in_channels, depth, height, width),
        torch.rand(batch_size, out_channels, depth * stride, height * stride, width * stride),
    ]


def get_init_inputs():
    return [in_channels, out_channels, kernel_size, stride, padding, output_padding]
