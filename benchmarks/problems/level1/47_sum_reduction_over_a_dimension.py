"""Sum over a dimension, which is kept."""

import torch
import torch.nn as nn

batch_size = 128
dim1, dim2 = 4096, 4095
reduce_dim = 1


class Model(nn.Module):
    """x (N, dim1, dim2) -> (N, 1, dim2)."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.sum(x, dim=self.dim, keepdim=True)


def get_inputs():
    return [torch.rand(batch_size, dim1, dim2)]


def get_init_inputs():
    return [reduce_dim]
