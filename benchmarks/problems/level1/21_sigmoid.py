"""Sigmoid."""

import torch
import torch.nn as nn

batch_size = 4096
dim = 393216


class Model(nn.Module):
    """x (N, dim) -> (N, dim)."""

    def forward(self, x):
        return torch.sigmoid(x)


def get_inputs():
    return [torch.rand(batch_size, dim)]


def get_init_inputs():
    return []
