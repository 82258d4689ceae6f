"""GroupNorm."""

import torch
import torch.nn as nn

batch_size = 112
features = 64
dim1, dim2 = 512, 512
num_groups = 8
eps = 1e-5


class Model(nn.Module):
    """x (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, num_features, num_groups, eps):
        super().__init__()
        self.gn = nn.GroupNorm(num_groups=num_groups, num_channels=num_features, eps=eps)

    def forward(self, x):
        return self.gn(x)


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features, num_groups, eps]
