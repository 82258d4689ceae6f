"""LayerNorm over every dimension but the batch."""

import torch
import torch.nn as nn

batch_size = 16
features = 64
dim1, dim2 = 256, 256


class Model(nn.Module):
    """x (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, normalized_shape):
        super().__init__()
        self.ln = nn.LayerNorm(normalized_shape=normalized_shape)

    def forward(self, x):
        return self.ln(x)


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [(features, dim1, dim2)]
