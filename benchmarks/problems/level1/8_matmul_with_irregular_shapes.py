"""Product of two matrices, no size a multiple of 8."""

import torch
import torch.nn as nn

m = 8205
k = 2949
n = 5921


class Model(nn.Module):
    """A (m, k), B (k, n) -> (m, n)."""

    def forward(self, A, B):
        return torch.matmul(A, B)


def get_inputs():
    return [torch.rand(m, k), torch.rand(k, n)]


def get_init_inputs():
    return []
