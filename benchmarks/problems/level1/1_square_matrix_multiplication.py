"""Product of two square matrices."""

import torch
import torch.nn as nn

n = 4096


class Model(nn.Module):
    """A (n, n), B (n, n) -> (n, n)."""

    def forward(self, A, B):
        return torch.matmul(A, B)


def get_inputs():
    return [torch.rand(n, n), torch.rand(n, n)]


def get_init_inputs():
    return []
