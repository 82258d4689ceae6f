"""Index of the maximum over a dimension."""

import torch
import torch.nn as nn

batch_size = 128
dim1, dim2 = 4096, 4095
dim = 1


class Model(nn.Module):
    """x (N, dim1, dim2) -> (N, dim2), int64."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.argmax(x, dim=self.dim)


def get_inputs():
    return [torch.rand(batch_size, dim1, dim2)]


def get_init_inputs():
    return [dim]
